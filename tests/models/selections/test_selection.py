"""CategoricalDistribution: every form of θ, the draw, the weights of the loss, the relaxation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toys import at

from mmdynakd.functional import invert_cdf, uniform
from mmdynakd.models.selections import CategoricalDistribution, Choice, settings
from mmdynakd.registry import MODELS

NAMES = ['big', 'mid', 'small']
US = [0.0, 0.05, 0.1, 0.39, 0.4, 0.7, 0.999]


def dist(probs=None, teachers=NAMES, **kwargs):
    return CategoricalDistribution(teachers, probs, **kwargs)


@pytest.mark.parametrize(
    ('probs', 'expected'),
    [
        ('uniform', [1 / 3, 1 / 3, 1 / 3]),
        ('big', [1.0, 0.0, 0.0]),
        ('small', [0.0, 0.0, 1.0]),
        ([0.5, 0.25, 0.25], [0.5, 0.25, 0.25]),
        ((0.0, 0.0, 1.0), [0.0, 0.0, 1.0]),
        (np.array([0.5, 0.25, 0.25]), [0.5, 0.25, 0.25]),
        ({'small': 0.75, 'big': 0.25}, [0.25, 0.0, 0.75]),
        ({'mid': 1}, [0.0, 1.0, 0.0]),
        ([0.3333, 0.3333, 0.3333], [1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_forms_of_a_fixed_theta(probs, expected):
    made = dist(probs)
    assert made.probs() == expected
    assert not made.learnable
    assert list(made.state_dict()) == []  # no checkpoint can overwrite a fixed θ


@pytest.mark.parametrize(
    ('scores', 'expected'),
    [
        (dict(big=70.8, mid=60.8, small=50.3), [3 / 6, 2 / 6, 1 / 6]),
        (dict(small=50.3, mid=60.8, big=70.8), [3 / 6, 2 / 6, 1 / 6]),  # by name, not by position
        (dict(big=1.0, mid=2.0, small=2.0), [1 / 6, 2.5 / 6, 2.5 / 6]),
    ],
)
def test_scores_become_ranks(scores, expected):
    assert dist(scores=scores).probs() == pytest.approx(expected, rel=1e-15)
    assert not dist(scores=scores).learnable


def test_neither_probs_nor_scores_learns_theta_from_uniform():
    made = dist()
    assert made.learnable
    assert made.probs() == pytest.approx([1 / 3] * 3, rel=1e-15)
    assert made.alpha.tolist() == [0, 0, 0]
    assert made.alpha.requires_grad
    assert [name for name, _ in made.named_parameters()] == ['alpha']


def test_a_name_that_is_the_word_uniform_means_uniform():
    assert dist('uniform', ['a', 'b']).probs() == [0.5, 0.5]


@given(st.lists(st.floats(-8, 8), min_size=1, max_size=6))
def test_learned_theta_is_softmax_alpha(alpha):
    made = dist(teachers=[f't{i}' for i in range(len(alpha))])
    made.alpha.data = torch.tensor(alpha)
    exps = [math.exp(a) for a in made.alpha.tolist()]
    assert made.probs() == pytest.approx([e / sum(exps) for e in exps], rel=1e-12)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (
            dict(probs='huge'),
            r"the names of the teachers \['big', 'mid', 'small'\]; unknown: \['huge'\]",
        ),
        (dict(probs=dict(big=0.5, huge=0.5)), r"unknown: \['huge'\]"),
        (dict(probs=dict(big=0.5)), 'sums to 0.5'),
        (dict(probs={}), 'sums to 0'),
        (dict(probs=[0.5, 0.5]), 'each of the 3 teachers'),
        (dict(probs=[0.5, 0.6, -0.1]), 'negative'),
        (dict(probs=[math.nan, 0.5, 0.5]), 'NaN'),
        (dict(scores=dict(big=1.0, mid=2.0)), r"missing: \['small'\]"),
        (dict(scores=dict(big=1.0, mid=2.0, small=3.0, huge=4.0)), r"unknown: \['huge'\]"),
        (dict(scores=dict(big=1.0, mid=2.0, small=math.nan)), 'finite'),
        (
            dict(probs='uniform', scores=dict(big=1.0, mid=2.0, small=3.0)),
            'probs or scores, not both',
        ),
        (dict(teachers=[]), 'at least one teacher'),
        (dict(teachers=['a', 'b', 'a']), 'repeat'),
        (dict(weight_by_probability='normalised'), 'weight_by_probability must be one of'),
        (dict(weight_by_probability=None), 'weight_by_probability must be one of'),
        (dict(weight_by_probability=2), 'weight_by_probability must be one of'),
    ],
)
def test_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        dist(**kwargs)


@pytest.mark.parametrize('u', US)
def test_the_draw_is_one_teacher_of_weight_one(u):
    probs = [0.1, 0.3, 0.6]
    choice = dist(probs).choose(at(u))
    index = 0 if u < 0.1 else 1 if u < 0.4 else 2
    assert choice == Choice({NAMES[index]: 1.0}, probs[index])


def test_a_learned_theta_draws_like_the_same_fixed_one():
    learned = dist()
    learned.alpha.data = torch.tensor([1.0, -1.0, 0.3])
    fixed = dist(learned.probs())
    for step in range(200):
        u = uniform(0, step)
        a, b = learned.choose(at(u)), fixed.choose(at(u))
        assert a.weights == b.weights
        assert a.scale == pytest.approx(b.scale, rel=1e-14)


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=6))
def test_expected_scale_of_each_weighting(weights):
    """E[scale] = Σ_i θ_i scale_i: 1 without weighting, Σ θ² with θ̂, 1 where normalised."""
    names = [f't{i}' for i in range(len(weights))]
    probs = [w / sum(weights) for w in weights]
    cdf = np.cumsum(probs)
    middles = [(cdf[i] + (cdf[i - 1] if i else 0)) / 2 for i in range(len(probs))]
    for mode, expected in (
        ('none', 1.0),
        ('paper', sum(p * p for p in probs)),
        ('normalized', 1.0),
    ):
        made = dist(probs, names, weight_by_probability=mode)
        scales = [made.choose(at(u)).scale for u in middles]
        assert [next(iter(made.choose(at(u)).weights)) for u in middles] == names
        assert sum(p * s for p, s in zip(probs, scales)) == pytest.approx(expected, rel=1e-12)
        if mode != 'none':  # proportional to θ̂
            assert [s * probs[0] for s in scales] == pytest.approx(
                [p * scales[0] for p in probs], rel=1e-12
            )


@pytest.mark.parametrize('mode', ['paper', 'none', 'normalized'])
def test_one_hot_and_single_teacher_have_scale_one(mode):
    assert dist('mid', weight_by_probability=mode).choose(at(0.5)) == Choice({'mid': 1.0}, 1.0)
    assert dist(teachers=['only'], weight_by_probability=mode).choose(at(0.99)) == Choice(
        {'only': 1.0}, 1.0
    )


def test_the_default_weighting_is_the_papers():
    assert dist([0.2, 0.3, 0.5]).choose(at(0.0)).scale == 0.2


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        (False, 'none'),
        (True, 'paper'),
        (0, 'none'),  # as numbers come from a command line
        (1, 'paper'),
        (np.False_, 'none'),
        (np.True_, 'paper'),
    ],
)
def test_the_old_booleans_still_work_and_say_the_new_word(old, new, monkeypatch):
    said = []
    monkeypatch.setattr(settings, 'print_log', lambda text, *_: said.append(text))
    made, same = (dist([0.2, 0.3, 0.5], weight_by_probability=value) for value in (old, new))
    assert made.choose(at(0.3)) == same.choose(at(0.3))
    assert made.summary() == same.summary()
    assert made.summary()['weight_by_probability'] == new
    assert len(said) == 1
    assert f"write weight_by_probability='{new}'" in said[0]


def test_teachers_of_zero_probability_are_never_drawn():
    made = dist([0.5, 0.0, 0.5])
    drawn = {next(iter(made.choose(at(uniform(0, step))).weights)) for step in range(500)}
    assert drawn == {'big', 'small'}
    assert next(iter(dist([0.0, 1.0, 0.0]).choose(at(0.0)).weights)) == 'mid'


def test_the_draw_inverts_the_cdf_in_the_teachers_order():
    made = dist([0.2, 0.3, 0.5])
    for step in range(100):
        u = uniform(4, step)
        assert made.choose(at(u)).weights == {NAMES[invert_cdf([0.2, 0.3, 0.5], u)]: 1.0}


def test_relax_weighs_all_teachers_with_gradient():
    made = dist()
    made.alpha.data = torch.tensor([0.4, 0.1, -0.8])
    theta = made.alpha.softmax(0)
    choice = made.relax(theta)
    assert list(choice.weights) == NAMES
    assert choice.scale == 1
    assert [w.item() for w in choice.weights.values()] == theta.tolist()
    values = [3.0, -1.0, 0.5]
    sum(w * v for w, v in zip(choice.weights.values(), values)).backward()
    probs, mean = made.probs(), sum(p * v for p, v in zip(made.probs(), values))
    assert made.alpha.grad.tolist() == pytest.approx(
        [p * (v - mean) for p, v in zip(probs, values)], rel=1e-5
    )


def test_it_is_registered():
    made = MODELS.build(dict(type='mmdynakd.CategoricalDistribution', teachers=NAMES, probs='big'))
    assert made.probs() == [1.0, 0.0, 0.0]


def test_a_learned_theta_survives_a_state_dict():
    made, other = dist(), dist()
    made.alpha.data = torch.tensor([0.2, 0.5, -1.0])
    other.load_state_dict(made.state_dict())
    assert other.probs() == made.probs() != [1 / 3] * 3


def test_nobody_teaches_where_labels_are_all():
    nobody = MODELS.build(dict(type='mmdynakd.LabelsOnly', teachers=NAMES))
    assert nobody.choose(at(0.3)) == Choice({})
    assert (nobody.teachers, nobody.kind, nobody.summary()) == ([], None, {})
    assert [nobody.learnable, nobody.needs_labels, nobody.needs_evidence] == [False] * 3
    assert nobody.state_dict() == {}
