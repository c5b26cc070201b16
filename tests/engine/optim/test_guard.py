"""StepGuard: a step that is not finite is as if it had not been, for its lane alone."""

import copy
import math

import pytest
import torch
from mmengine.optim import OptimWrapper
from scaled import ScaledOptimWrapper, parameter
from torch import nn
from toys import bilevel, built, differing, dynakd_cfg, made_batch, snapshot, student_cfg

from mmdynakd.compat.torch_internals import copies
from mmdynakd.engine.optim import BilevelOptimWrapper
from mmdynakd.engine.optim.guard import StepGuard

NAN, INF = float('nan'), float('inf')


def spoiled(batch):
    """With a NaN in the first image; all images are floats, so that they stack."""
    batch = floats(batch)
    batch['inputs'][0][0, 0, 0] = NAN
    return batch


def floats(batch):
    return dict(
        inputs=[image.float() for image in batch['inputs']], data_samples=batch['data_samples']
    )


def searching(lanes=None, backbone='resnet', **options):
    model = built(dynakd_cfg(2, student=student_cfg(backbone=backbone), lanes=lanes, **options))
    return model, bilevel(model, theta=dict(optimizer=dict(type='Adam', lr=0.1)))


def entry(*params, **kwargs):
    return OptimWrapper(torch.optim.SGD(params, lr=1.0), **kwargs)


def states(optim):
    return copy.deepcopy(
        {name: wrapper.optimizer.state_dict()['state'] for name, wrapper in optim.items()}
    )


def same_state(first, second):
    flat = [
        [value for entry in side.values() for state in entry.values() for value in state.values()]
        for side in (first, second)
    ]
    return len(flat[0]) == len(flat[1]) > 0 and all(
        torch.equal(a, b) if torch.is_tensor(a) else a == b for a, b in zip(*flat)
    )


# --- a skipped step never was ---------------------------------------------------------------------


@pytest.mark.parametrize('lanes', [None, dict(a={}, b=dict(selection=None))], ids=['one', 'two'])
def test_a_skipped_step_leaves_weights_buffers_gradients_and_optimizers(lanes):
    model, optim = searching(lanes)
    model.upper_step(made_batch(seed=1), optim)
    model.train_step(made_batch(seed=1), optim)
    before, state = snapshot(model), states(optim)
    model.train_step(spoiled(made_batch(seed=2)), optim)
    assert differing(before, snapshot(model)) == ['_extra_state']  # the draws go on
    assert same_state(state, states(optim))
    assert all(p.grad is None for p in model.parameters())
    assert optim.skipped == dict.fromkeys(model.lanes, 1)
    model.train_step(made_batch(seed=3), optim)
    after = snapshot(model)
    assert len(differing(before, after)) > 20
    assert all(v.isfinite().all() for v in after.values())


def test_without_the_guard_the_batch_poisons_weights_and_statistics():
    model, optim = searching()
    optim.guard = None
    model.train_step(spoiled(made_batch(seed=2)), optim)
    bad = [key for key, value in snapshot(model).items() if not value.isfinite().all()]
    assert any('running_mean' in key for key in bad)
    assert any('conv' in key for key in bad)


def test_an_upper_step_that_is_not_finite_moves_no_theta():
    model, optim = searching()
    model.upper_step(made_batch(seed=1), optim)
    model.train_step(made_batch(seed=1), optim)
    before, state = snapshot(model), states(optim)
    losses = model.upper_step(spoiled(made_batch(seed=2)), optim)
    assert losses['search'].isnan()
    assert optim.skipped == {'search.theta': 1}
    assert differing(before, snapshot(model)) == []
    assert same_state(state, states(optim))
    assert model.lanes['search'].selection.alpha.grad is None
    logged = model.train_step(made_batch(seed=3), optim)
    assert 'search/upper_loss' not in logged  # a candidate's upper loss is a mean over those logged
    model.upper_step(made_batch(seed=4), optim)
    assert 'search/upper_loss' in model.train_step(made_batch(seed=5), optim)
    assert 'lanes.search.selection.alpha' in differing(before, snapshot(model))


def test_neighbours_are_not_disturbed():
    """A lane whose loss is NaN in every step, beside one that ends bit for bit as alone."""
    bad = dict(student_loss_weight=NAN)
    model, optim = searching(dict(search=bad, fine=dict(selection=dict(probs='uniform'))))
    alone, own = searching(dict(fine=dict(selection=dict(probs='uniform'))))
    object.__setattr__(alone, 'ensemble', model.ensemble)
    start = snapshot(model.lanes['search'].student)
    for seed in range(3):
        model.train_step(made_batch(seed=seed), optim)
        alone.train_step(made_batch(seed=seed), own)
    assert differing(snapshot(model.lanes['fine']), snapshot(alone.lanes['fine'])) == []
    assert same_state({'fine': states(optim)['fine']}, states(own))
    assert differing(start, snapshot(model.lanes['search'].student)) == []
    assert optim.skipped == dict(search=3)
    assert own.skipped == {}


# --- what is not finite ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('loss', 'skipped'),
    [
        (lambda p: (p**2).sum(), False),
        (lambda p: (p * 1e25).sum(), False),  # its norm overflows in float32, the gradient does not
        (lambda p: (p * NAN).sum(), True),
        (lambda p: p.sum() + INF, True),  # the gradient alone would not tell
        (
            lambda p: (p - p.detach()).abs().sqrt().sum(),
            True,
        ),  # finite, with a gradient that is not
    ],
)
def test_loss_and_gradient_are_judged(loss, skipped):
    p, other = parameter(1.0, 2.0), parameter(3.0)
    optim = BilevelOptimWrapper(a=entry(p), b=entry(other))
    optim.update_params(dict(a=loss(p), b=other.sum()))
    assert (p.data.tolist() == [1.0, 2.0]) == skipped
    assert other.item() == 2.0
    assert p.grad is None
    assert optim.skipped == (dict(a=1) if skipped else {})


def test_the_fault_says_loss_or_gradient():
    p, q = parameter(1.0), parameter(1.0)
    optim = BilevelOptimWrapper(a=entry(p, q), b=entry(parameter()))
    optim.update_params(dict(a=q.sum() + (p - p.detach()).abs().sqrt().sum()))
    fault = optim.guard.faults['a']
    assert not fault.loss
    assert fault.gradient
    assert fault.parameters[0] is p
    assert len(fault.parameters) == 1
    optim.update_params(dict(a=q.sum() * INF))
    assert optim.guard.faults['a'].loss
    optim.update_params(dict(a=q.sum()))
    assert optim.guard.faults == {}


def test_a_row_ends_with_a_step_taken():
    p = parameter(1.0)
    optim = BilevelOptimWrapper(a=entry(p))
    rows = []
    for factor in (NAN, NAN, 1.0, NAN):
        optim.update_params(dict(a=p.sum() * factor))
        rows.append((optim.skipped['a'], optim.guard.in_row['a']))
    assert rows == [(1, 1), (2, 2), (2, 0), (3, 1)]
    assert p.item() == 0.0


@pytest.mark.parametrize('bad', [(0,), (1,), (0, 1)])
def test_a_bad_batch_spoils_the_step_of_those_accumulated_with_it(bad):
    p = parameter(8.0)
    optim = BilevelOptimWrapper(a=entry(p, accumulative_counts=2))
    for batch in range(4):
        optim.update_params(dict(a=p.sum() * (NAN if batch in bad else 2.0)))
        if batch == 1:
            assert p.item() == 8.0
            assert p.grad is None
    assert p.item() == 6.0
    assert optim['a']._inner_count == 4
    assert optim.skipped == dict(a=1)


def test_an_accumulated_upper_step_is_spoiled_likewise():
    p = parameter(8.0)
    optim = BilevelOptimWrapper(
        **{'a': entry(parameter()), 'a.theta': entry(p, accumulative_counts=2)}
    )
    found = [
        optim.update_theta(dict(a=p.sum() * factor), dict(a=p)) for factor in (NAN, 2.0, 2.0, 2.0)
    ]
    assert found == [{'a'}, set(), set(), set()]
    assert p.item() == 6.0
    assert optim.skipped == {'a.theta': 1}


class CountingScaler:
    """Stands for AMP's GradScaler: skips infinite gradients, and lowers its scale."""

    def __init__(self) -> None:
        self.factor, self.steps = 2.0, 0

    def scale(self, loss):
        return loss * self.factor

    def step(self, params):
        self.steps += 1
        if not all(p.grad.isfinite().all() for p in params):
            self.factor /= 2
        else:
            for p in params:
                p.data -= p.grad / self.factor


def test_an_overflowing_gradient_is_left_to_the_scaler_of_amp(monkeypatch):
    p = parameter(1.0)
    wrapper = ScaledOptimWrapper(torch.optim.SGD([p], lr=1.0), scale=1.0)
    wrapper.loss_scaler = scaler = CountingScaler()
    monkeypatch.setattr(wrapper, 'step', lambda: scaler.step([p]))
    optim = BilevelOptimWrapper(a=wrapper)
    optim.update_params(dict(a=(p - p.detach()).abs().sqrt().sum()))
    assert (scaler.steps, scaler.factor, p.item(), optim.skipped) == (
        1,
        1.0,
        1.0,
        {},
    )
    assert p.grad is None
    optim.update_params(dict(a=p.sum() * NAN))
    assert (scaler.steps, scaler.factor, p.item(), optim.skipped) == (
        1,
        1.0,
        1.0,
        dict(a=1),
    )
    assert p.grad is None
    optim.update_params(dict(a=p.sum()))
    assert (scaler.steps, p.item()) == (2, 0.0)


# --- state ----------------------------------------------------------------------------------------


def test_the_counts_survive_a_round_trip_and_leave_no_trace_without_faults():
    p = parameter(8.0)
    first, second = (
        BilevelOptimWrapper(a=entry(p, accumulative_counts=2), b=entry(parameter()))
        for _ in range(2)
    )
    clean = first.state_dict()
    assert set(clean) == {'a', 'b'}
    first.update_params(dict(a=p.sum() * NAN))  # half way through a spoiled window
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    second['a']._inner_count = 1
    assert (second.skipped, second.guard.in_row['a']) == (dict(a=1), 1)
    second.update_params(dict(a=p.sum()))
    assert p.item() == 8.0
    assert second.skipped == dict(a=1)
    second.load_state_dict(clean)
    assert second.skipped == {}
    assert second.guard.in_row['a'] == 0


@pytest.mark.parametrize('value', [-1, 2.5, True, 'ten', math.nan])
def test_a_wrong_max_skipped(value):
    with pytest.raises(
        ValueError, match=r'optim_wrapper\.max_skipped must be an integer >= 1, or None'
    ):
        BilevelOptimWrapper(max_skipped=value, a=entry(parameter()))


@pytest.mark.parametrize('value', [None, 0])
def test_the_guard_can_be_switched_off(value):
    p = parameter(1.0)
    optim = BilevelOptimWrapper(max_skipped=value, a=entry(p))
    optim.update_params(dict(a=p.sum() * NAN))
    assert p.isnan().all()
    assert optim.skipped == {}
    assert set(optim.state_dict()) == {'a'}


def test_copies_are_exact_in_every_type():
    tensors = [
        torch.tensor([-0.0, NAN, INF, 1e-45]),
        torch.tensor(3),
        torch.tensor([True, False]),
        torch.tensor([0.1], dtype=torch.float64),
        torch.tensor([1.5], dtype=torch.bfloat16),
        torch.empty(0),
    ]
    for tensor, copy_ in zip(tensors, copies(tensors), strict=True):
        assert copy_.dtype == tensor.dtype
        assert copy_ is not tensor
        assert (
            copy_.numpy(force=True).tobytes() == tensor.numpy(force=True).tobytes()
            if tensor.dtype != torch.bfloat16
            else torch.equal(copy_, tensor)
        )


def test_buffers_that_moved_are_found_again():
    norm, guard = nn.BatchNorm1d(2), StepGuard()
    guard.watch(norm, dict(a=norm))
    norm.double()
    guard.watch(norm, dict(a=norm))
    norm(torch.rand(4, 2).double())
    guard.undo('a')
    assert norm.running_mean.tolist() == [0, 0]
    assert norm.running_mean.dtype == torch.float64
    assert norm.num_batches_tracked == 0
