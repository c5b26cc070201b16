"""BilevelOptimWrapper: its entries, when θ is stepped, schedulers, state."""

import copy
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn
from toys import bilevel, built, differing, dynakd_cfg, made_batch, snapshot, student_cfg

from mmdynakd.engine.optim import BilevelOptimWrapper, BilevelOptimWrapperConstructor
from mmdynakd.entries import expand_schedulers

LANES = dict(search={}, fixed=dict(selection=dict(probs='t0')), ce=dict(selection=None))
SGD = dict(type='SGD', lr=0.1)
ALPHA = 'lanes.search.selection.alpha'


def bare(upper_interval=1, warmup=0):
    return BilevelOptimWrapper(upper_interval=upper_interval, warmup=warmup, a=entry())


def entry():
    return OptimWrapper(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0))


def alpha(model):
    return model.lanes['search'].selection.alpha


# --- entries --------------------------------------------------------------------------------------


def test_one_entry_a_student_and_one_a_searched_theta():
    model = built(dynakd_cfg(2, lanes={**LANES, 'second': {}}))
    optim = bilevel(model)
    assert list(optim.keys()) == ['search', 'search.theta', 'fixed', 'ce', 'second', 'second.theta']
    assert list(optim.lanes) == ['search', 'fixed', 'ce', 'second']
    assert list(optim.thetas) == [
        'search',
        'second',
    ]
    for name, lane in model.lanes.items():
        held = [p for group in optim[name].param_groups for p in group['params']]
        assert {id(p) for p in held} == {id(p) for p in lane.student.parameters()}
    assert [
        p is alpha(model) for group in optim['search.theta'].param_groups for p in group['params']
    ] == [True]
    assert type(optim['search.theta'].optimizer) is torch.optim.Adam
    assert optim['search.theta'].param_groups[0]['lr'] == 0.01
    assert optim['search.theta'].param_groups[0]['betas'] == (0.5, 0.999)


def test_settings_reach_their_entries():
    model = built(dynakd_cfg(2, lanes=LANES))
    optim = bilevel(
        model,
        lr=0.3,
        theta=dict(optimizer=SGD, accumulative_counts=3),
        timing=dict(upper_interval=4, warmup=7),
        accumulative_counts=2,
        clip_grad=dict(max_norm=1.5),
    )
    assert (optim.upper_interval, optim.warmup) == (4, 7)
    assert [e._accumulative_counts for e in optim.lanes.values()] == [2, 2, 2]
    assert [e.clip_grad_kwargs for e in optim.lanes.values()] == [dict(max_norm=1.5)] * 3
    theta = optim['search.theta']
    assert theta._accumulative_counts == 3
    assert theta.clip_grad_kwargs is None
    assert theta.param_groups[0]['lr'] == 0.1
    assert optim['ce'].param_groups[0]['lr'] == 0.3


def test_paramwise_settings_reach_the_students():
    model = built(dynakd_cfg(2, student_cfg(backbone='resnet'), lanes=LANES))
    cfg = dict(student=dict(optimizer=dict(SGD, weight_decay=0.1)))
    optim = BilevelOptimWrapperConstructor(cfg, dict(norm_decay_mult=0.0))(model)
    norms = {
        id(p)
        for m in model.lanes['ce'].modules()
        if isinstance(m, nn.BatchNorm2d)
        for p in m.parameters()
    }
    decays = {
        (id(p) in norms, group['weight_decay'])
        for group in optim['ce'].param_groups
        for p in group['params']
    }
    assert decays == {(True, 0.0), (False, 0.1)}


@pytest.mark.parametrize(
    'cfg',
    [
        {},
        dict(optimizer=SGD),
        dict(student=SGD),
        dict(student=dict(optimizer=SGD), thetas={}),
        dict(student=dict(optimizer=SGD), optimizer=SGD),
        dict(student=3),
    ],
)
def test_wrong_keys(cfg):
    with pytest.raises(
        ValueError, match=r'optim_wrapper takes .* with student=dict\(optimizer=…\); unknown: '
    ):
        BilevelOptimWrapperConstructor(cfg)


@pytest.mark.parametrize(
    'timing', [dict(upper_interval=0), dict(upper_interval=-1), dict(warmup=-1)]
)
def test_wrong_timing(timing):
    with pytest.raises(ValueError, match='upper_interval must be >= 1 and warmup >= 0'):
        bare(**timing)


def test_another_model():
    with pytest.raises(ValueError, match='trains the lanes of a DynaKD, not a Linear'):
        BilevelOptimWrapperConstructor(dict(student=dict(optimizer=SGD)))(nn.Linear(1, 1))


def test_the_type_of_the_entries_is_handed_on(monkeypatch):
    """``AmpOptimWrapper`` itself wants a GPU; what it says without one is MMEngine's."""
    made = []

    class Spy(OptimWrapper):
        def __init__(self, *args, loss_scale=None, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(loss_scale)

    monkeypatch.setitem(OPTIM_WRAPPERS._module_dict, 'AmpOptimWrapper', Spy)
    model = built(dynakd_cfg(2, lanes=LANES))
    optim = bilevel(model, type='AmpOptimWrapper', loss_scale='dynamic')
    assert made == ['dynamic'] * 3
    assert {type(e) for e in optim.lanes.values()} == {Spy}
    assert type(optim['search.theta']) is OptimWrapper
    assert model.train_step(made_batch(), optim)['search/loss'] > 0


# --- when -----------------------------------------------------------------------------------------


@given(st.integers(1, 7), st.integers(0, 12), st.integers(0, 40))
def test_upper_steps_by_brute_force(interval, warmup, iteration):
    optim = bare(interval, warmup)
    due = [i for i in range(warmup, 100) if (i - warmup) % interval == 0]
    assert optim.is_upper_step(iteration) == (iteration in due)
    assert optim.upper_steps_before(iteration) == sum(i < iteration for i in due)


def test_counts_of_theta_are_upper_steps():
    a, theta = entry(), entry()
    optim = BilevelOptimWrapper(upper_interval=3, warmup=2, **{'a': a, 'a.theta': theta})
    optim.initialize_count_status(nn.Linear(1, 1), 6, 12)
    assert (a._inner_count, a._max_counts) == (6, 12)
    assert (theta._inner_count, theta._max_counts) == (2, 4)  # upper steps at 2, 5 | 8, 11


# --- schedulers and state -------------------------------------------------------------------------


def searching_lanes():
    return SimpleNamespace(lanes=dict(a=0, b=0, c=0), searched=dict(a=0, c=0))


def test_schedulers_by_kind():
    student, theta = (
        [dict(type='MultiStepLR', milestones=[2])],
        dict(type='CosineAnnealingLR', T_max=5),
    )
    made = expand_schedulers(dict(student=student, theta=theta), searching_lanes())
    assert made == {'a': student, 'b': student, 'c': student, 'a.theta': theta, 'c.theta': theta}
    assert made['a'] is not made['b']
    assert made['a'][0] is not made['b'][0]


@pytest.mark.parametrize('schedulers', [[dict(type='LinearLR')], dict(type='LinearLR')])
def test_a_list_or_one_scheduler_is_the_students(schedulers):
    made = expand_schedulers(schedulers, searching_lanes())
    assert made == {'a': schedulers, 'b': schedulers, 'c': schedulers, 'a.theta': [], 'c.theta': []}


def test_no_and_wrong_schedulers():
    assert expand_schedulers(None, searching_lanes()) is None
    assert expand_schedulers({}, searching_lanes()) == {
        n: [] for n in ('a', 'b', 'c', 'a.theta', 'c.theta')
    }
    with pytest.raises(ValueError, match="takes the keys 'student' and 'theta', not 'alpha'"):
        expand_schedulers(dict(student=[], alpha=[]), searching_lanes())


def test_the_state_survives_a_round_trip():
    """Momentum and Adam's moments: a reloaded run goes on bit for bit."""
    first, second = built(dynakd_cfg(3)), built(dynakd_cfg(3), seed=5)
    optims = [bilevel(first), bilevel(second)]

    def steps(model, optim, numbers):
        for i in numbers:
            model.upper_step(made_batch(seed=50 + i), optim)
            model.train_step(made_batch(seed=i), optim)

    # The ensemble is no part of the state: the same teachers for both.
    object.__setattr__(second, 'ensemble', first.ensemble)
    for lane in second.lanes.values():
        lane.prepare(first.ensemble)
    steps(first, optims[0], range(3))
    second.load_state_dict(first.state_dict())
    optims[1].load_state_dict(copy.deepcopy(optims[0].state_dict()))
    steps(first, optims[0], range(3, 6))
    fresh = copy.deepcopy(snapshot(second))
    steps(second, optims[1], range(3, 6))
    assert differing(snapshot(first), snapshot(second)) == []
    assert ALPHA in differing(fresh, snapshot(second))
    assert set(optims[0].state_dict()) == {'search', 'search.theta'}
