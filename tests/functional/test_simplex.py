"""The simplex: what is accepted as θ, distances, entropy and ranks."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdynakd.functional import as_simplex, entropy, rank_weights, total_variation

POSITIVE = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=8)


def normalised(values):
    return [v / sum(values) for v in values]


@given(POSITIVE)
def test_a_distribution_is_accepted_and_sums_to_one(values):
    probs = as_simplex(values / np.sum(values), len(values))
    assert all(type(p) is float for p in probs)
    assert abs(math.fsum(probs) - 1) < 1e-15 * len(values)
    np.testing.assert_allclose(probs, normalised(values), rtol=1e-12)


def test_a_rounded_distribution_is_renormalised():
    assert as_simplex([0.3333, 0.3333, 0.3333], 3) == [1 / 3] * 3


@pytest.mark.parametrize(
    ('probs', 'n', 'message'),
    [
        ([0.5, 0.5], 3, 'one probability for each of the 3 teachers'),
        ([0.25] * 4, 3, 'one probability for each of the 3 teachers'),
        ([], 2, 'one probability for each'),
        ([[0.5, 0.5]], 2, 'one probability for each'),
        (1.0, 1, 'one probability for each'),
        ([math.nan, 0.5, 0.5], 3, 'NaN or infinity'),
        ([math.inf, 0.0], 2, 'NaN or infinity'),
        ([-math.inf, 1.0], 2, 'NaN or infinity'),
        ([-0.5, 1.5], 2, 'negative'),
        ([-1e-9, 1.0], 2, 'negative'),
        ([0.5, 0.6], 2, 'sums to 1.1, not 1'),
        ([0.5, 0.4997], 2, 'sums to 0.9997, not 1'),
        ([0.0, 0.0], 2, 'sums to 0, not 1'),
        (['a', 'b'], 2, 'must be 2 numbers'),
        ([[0.5], [0.2, 0.3]], 2, 'must be 2 numbers'),
    ],
)
def test_what_is_no_distribution_is_refused(probs, n, message):
    with pytest.raises(ValueError, match=message):
        as_simplex(probs, n)


def test_entropy_against_its_definition():
    assert entropy([0.5, 0.25, 0.25]) == pytest.approx(1.5 * math.log(2), rel=1e-15)
    assert entropy([0.0, 1.0, 0.0]) == 0.0
    assert math.copysign(1, entropy([1.0])) == 1  # not the "-0.0" of a table


@given(POSITIVE)
def test_entropy_is_greatest_where_uniform(values):
    n = len(values)
    expected = -sum(p * math.log(p) for p in normalised(values))
    assert entropy(normalised(values)) == pytest.approx(expected, abs=1e-12)
    assert entropy(normalised(values)) <= entropy([1 / n] * n) + 1e-12
    assert entropy([1 / n] * n) == pytest.approx(math.log(n), abs=1e-12)


@given(st.lists(st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)), min_size=1, max_size=6))
def test_total_variation_is_the_largest_difference_of_an_event(pairs):
    p, q = normalised([a for a, _ in pairs]), normalised([b for _, b in pairs])
    events = [
        sum(p[i] - q[i] for i in range(len(p)) if event >> i & 1) for event in range(2 ** len(p))
    ]
    assert total_variation(p, q) == pytest.approx(max(events), abs=1e-12)


def test_total_variation_spans_zero_to_one():
    assert total_variation([0.2, 0.8], [0.2, 0.8]) == 0
    assert total_variation([1.0, 0.0], [0.0, 1.0]) == 1
    assert total_variation([0.5, 0.5, 0.0], [0.25, 0.25, 0.5]) == 0.5


@pytest.mark.parametrize(
    ('scores', 'ranks'),
    [
        ([70.8, 62.3, 50.3], [3, 2, 1]),
        ([50.3, 70.8, 62.3], [1, 3, 2]),
        ([5.0], [1]),
        ([1.0, 2.0, 2.0, 3.0], [1, 2.5, 2.5, 4]),
        ([4.0, 4.0, 4.0], [2, 2, 2]),
        ([9.0, 1.0, 9.0, 9.0, -2.0], [4, 2, 4, 4, 1]),
    ],
)
def test_rank_weights_are_ranks_over_their_sum(scores, ranks):
    assert rank_weights(scores) == [r / sum(ranks) for r in ranks]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8))
def test_rank_weights_count_pairs(scores):
    """Rank = 1 + those below + half of the other ties; ranks sum to n (n + 1) / 2."""
    n = len(scores)
    ranks = [
        1 + sum((b < a) + 0.5 * (b == a) for j, b in enumerate(scores) if j != i)
        for i, a in enumerate(scores)
    ]
    np.testing.assert_allclose(
        rank_weights(scores), np.array(ranks) / (n * (n + 1) / 2), rtol=1e-14
    )


@pytest.mark.parametrize('scores', [[], [1.0, math.nan], [math.inf], [[1.0, 2.0]]])
def test_scores_that_cannot_be_ranked(scores):
    with pytest.raises(ValueError, match='scores must be finite numbers, one a teacher'):
        rank_weights(scores)
