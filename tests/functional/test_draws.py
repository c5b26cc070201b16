"""Draws: pure functions of (seed, step), with the frequencies and independence of true draws."""

import random
import timeit

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmdynakd.functional import invert_cdf, uniform, uniforms, view_uniforms
from mmdynakd.functional.draws import GUMBEL, SAMPLES

STEPS = 20_000
THETA = (0.4, 0.3, 0.15, 0.1, 0.05)
SEEDS = (0, 1, 2, 20240, 2**31 - 1)
PINNED = [0.011546754286331562, 0.5023796042735054, 0.25382274039248487]
# Quantiles of chi-square: the draws are fixed by their seeds, so that each bound holds or not for
# ever.
CHI2_999 = {4: 18.467, 16: 39.252}
CHI2_SUM_OF_20 = (5.921, 45.315)  # 0.001 and 0.999, 20 degrees of freedom
ONE = 1 - 2.0**-53  # the largest u there can be


def drawn(seed, probs=THETA, steps=STEPS):
    return np.array([invert_cdf(probs, uniform(seed, step)) for step in range(steps)])


@pytest.fixture(scope='module')
def draws():
    return {seed: drawn(seed) for seed in SEEDS}


def reseed(seed):
    random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)  # noqa: NPY002


def global_draws():
    return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002


def chi_square(observed, expected):
    return float(((observed - expected) ** 2 / expected).sum())


def frequencies(indices):
    return np.bincount(indices, minlength=len(THETA)).astype(float)


def test_frequencies_are_theta(draws):
    statistics = [chi_square(frequencies(d), STEPS * np.array(THETA)) for d in draws.values()]
    assert max(statistics) < CHI2_999[4], statistics
    low, high = CHI2_SUM_OF_20  # neither too far from θ nor suspiciously near
    assert low < sum(statistics) < high, statistics


def test_the_chi_square_bound_sees_another_theta(draws):
    other = np.array([0.41, 0.29, 0.15, 0.1, 0.05])
    assert (
        sum(chi_square(frequencies(d), STEPS * other) for d in draws.values()) > CHI2_SUM_OF_20[1]
    )


@pytest.mark.parametrize('lag', [1, 2, 7])
def test_successive_draws_are_independent(draws, lag):
    for indices in draws.values():
        table = np.zeros((5, 5))
        np.add.at(table, (indices[:-lag], indices[lag:]), 1)
        expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
        assert chi_square(table, expected) < CHI2_999[16]


def test_seeds_are_independent_of_each_other(draws):
    """Neighbouring seeds, as they stand in a config, at the same step."""
    for first, second in ((0, 1), (1, 2)):
        table = np.zeros((5, 5))
        np.add.at(table, (draws[first], draws[second]), 1)
        expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
        assert chi_square(table, expected) < CHI2_999[16]


def test_a_seed_is_not_another_seed_shifted(draws):
    for shift in range(4):
        assert (draws[0][shift : 1000 + shift] != draws[1][:1000]).any()


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_uniform_is_a_pure_function(seed, step):
    reseed(1)
    first = uniform(seed, step)
    uniform(seed + 1, step + 5)
    reseed(2)
    assert uniform(seed, step) == first
    assert 0 <= first < 1


def test_the_order_of_steps_does_not_matter():
    forwards = [uniform(3, step) for step in range(50)]
    assert [uniform(3, step) for step in reversed(range(50))] == forwards[::-1]
    assert len(set(forwards)) == 50


def test_the_global_generators_are_left_alone():
    reseed(0)
    expected = global_draws()
    reseed(0)
    uniform(0, 0)
    assert global_draws() == expected


@pytest.mark.parametrize(('seed', 'step'), [(-1, 0), (0, -1)])
def test_negative_arguments(seed, step):
    with pytest.raises(ValueError, match='must be >= 0'):
        uniform(seed, step)


def test_values_are_pinned():
    """What a resumed or repeated run relies on, in every version of NumPy."""
    assert [uniform(0, step) for step in range(3)] == PINNED
    assert uniform(3, 5) == 0.8107662191464656
    assert uniforms(3, 5, 3, GUMBEL).tolist() == [
        0.5118916353039626,
        0.9599256357006285,
        0.28744605794219236,
    ]
    assert view_uniforms(7, np.array([0, 2**40 + 5]), 5).tolist() == [
        [
            0.09492160007357597,
            0.7857086204458028,
            0.008732641814276576,
            0.2043035957030952,
            0.24063582043163478,
        ],
        [
            0.5719080499839038,
            0.6313687355723232,
            0.45006012567318976,
            0.5885076376143843,
            0.37296407320536673,
        ],
    ]


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_they_are_the_raw_words_of_numpys_philox(seed, step):
    """The upper 53 bits of a word, as numbers were made before NumPy's own ``random`` made them."""
    raw = np.random.Philox(key=seed, counter=step).random_raw(1)
    assert uniform(seed, step) == (int(raw[0]) >> 11) * 2.0**-53
    raw = np.random.Philox(key=seed, counter=(step << 64) | (SAMPLES << 192)).random_raw(5)
    expected = (raw >> np.uint64(11)) * 2.0**-53
    assert uniforms(seed, step, 5, SAMPLES).tolist() == expected.tolist()


def test_numpys_philox_has_other_words_than_that_of_views():
    """So it cannot replace ``functional/philox.py``, whose numbers are in every run's crops."""
    words = np.random.Philox(key=7, counter=0).random_raw(4)
    halves = np.concatenate([words & np.uint64(2**32 - 1), words >> np.uint64(32)])
    ours = view_uniforms(7, [0], 4)[0] * 2.0**32
    assert not set(halves.tolist()) & set(ours.astype(np.uint64).tolist())


def test_a_draw_is_cheap():
    """Once a step; a step takes milliseconds. The bound is ten times what a slow machine takes."""
    assert min(timeit.repeat(lambda: uniform(0, 12345), number=100, repeat=5)) / 100 < 500e-6


@pytest.mark.parametrize(
    ('u', 'index'),
    [
        (0.0, 0),
        (0.25, 1),
        (np.nextafter(0.25, 0), 0),
        (0.5, 2),
        (np.nextafter(0.5, 0), 1),
        (0.75, 2),
        (ONE, 2),
    ],
)
def test_edges_belong_to_the_index_above(u, index):
    assert invert_cdf([0.25, 0.25, 0.5], u) == index


@pytest.mark.parametrize(
    ('probs', 'u', 'index'),
    [
        ([0.0, 1.0], 0.0, 1),
        ([0.0, 0.0, 1.0, 0.0], 0.0, 2),
        ([0.0, 0.0, 1.0, 0.0], ONE, 2),
        ([0.5, 0.0, 0.5], 0.5, 2),
        ([0.5, 0.0, 0.5], np.nextafter(0.5, 0), 0),
        ([0.5, 0.5, 0.0], ONE, 1),
        ([0.1] * 10 + [0.0], ONE, 9),
        ([1.0], 0.0, 0),
        ([1.0], ONE, 0),
    ],
)
def test_a_probability_of_zero_is_never_drawn_at_the_edges(probs, u, index):
    assert invert_cdf(probs, u) == index


@given(
    st.lists(st.sampled_from([0.0, 0.0, 0.1, 1 / 3, 1.0, 7.0]), min_size=1, max_size=7).filter(any),
    st.floats(0, ONE),
)
def test_the_inverse_cdf_against_a_plain_loop(weights, u):
    probs = np.array(weights) / np.sum(weights)
    index = invert_cdf(probs, u)
    assert probs[index] > 0
    below = sum(probs[:index])
    assert below - 1e-12 <= u <= below + probs[index] + 1e-12


@given(st.floats(0, ONE), st.floats(0, ONE))
def test_a_larger_u_never_draws_a_lower_index(u, v):
    low, high = sorted((u, v))
    assert invert_cdf(THETA, low) <= invert_cdf(THETA, high)
