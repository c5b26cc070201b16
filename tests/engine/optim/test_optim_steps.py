"""BilevelOptimWrapper: one backward; each entry steps, accumulates, clips and scales by itself."""

import copy

import torch
from mmengine.optim import OptimWrapper
from scaled import ScaledOptimWrapper, parameter
from toys import (
    bilevel,
    built,
    differing,
    dynakd_cfg,
    kd_distiller_cfg,
    made_batch,
    snapshot,
    teacher_cfg,
)

from mmdynakd.engine.optim import BilevelOptimWrapper

SGD = dict(type='SGD', lr=0.1)


def bare(**entries):
    return BilevelOptimWrapper(**entries)


def entry(*params, lr=1.0, **kwargs):
    return OptimWrapper(torch.optim.SGD(params, lr=lr), **kwargs)


def alpha(model):
    return model.lanes['search'].selection.alpha


def test_one_backward_steps_every_lane_by_its_own_gradient():
    params = {name: parameter(1.0, 2.0) for name in 'abc'}
    optim = bare(**{name: entry(p, lr=0.1 * (i + 1)) for i, (name, p) in enumerate(params.items())})
    backwards = []
    for p in params.values():
        p.register_hook(lambda grad: backwards.append(grad))
    optim.update_params(
        {name: (i + 1) * (p**2).sum() for i, (name, p) in enumerate(params.items())}
    )
    assert len(backwards) == 3  # one backward each, none twice
    for i, p in enumerate(params.values()):
        expected = torch.tensor([1.0, 2.0]) * (1 - 0.1 * (i + 1) * (i + 1) * 2)
        torch.testing.assert_close(p.data, expected)
        assert p.grad is None


def test_lanes_step_after_all_of_the_backward():
    """No optimizer may step before the last gradient is there: DDP's reducer sees one backward."""
    params, order = [parameter(), parameter()], []
    optim = bare(a=entry(params[0]), b=entry(params[1]))
    for name, p in zip('ab', params):
        p.register_hook(lambda grad, name=name: order.append(f'gradient {name}'))
        optim[name].optimizer.register_step_pre_hook(
            lambda *_, name=name: order.append(f'step {name}')
        )
    optim.update_params(dict(a=params[0].sum(), b=params[1].sum()))
    assert sorted(order[:2]) == ['gradient a', 'gradient b']
    assert order[2:] == ['step a', 'step b']


def trained(counts, batches, upper=(), theta=None):
    """A search after lower steps on ``batches`` and upper ones on ``upper``, by SGD."""
    model = built(dynakd_cfg(1, selection=dict(probs='t0')) if not upper else dynakd_cfg(3))
    optim = bilevel(
        model, lr=0.1, theta=dict(optimizer=SGD, **(theta or {})), accumulative_counts=counts
    )
    for batch in upper:
        model.upper_step(copy.deepcopy(batch), optim)
    for batch in batches:
        model.train_step(copy.deepcopy(batch), optim)
    return model


def halves(seed):
    whole = made_batch(n=8, seed=seed)
    return [
        {key: values[part] for key, values in whole.items()} for part in (slice(0, 4), slice(4, 8))
    ], whole


def test_accumulation_of_two_equals_the_double_batch():
    """Without batch norm, and with one teacher, so that both halves are taught alike."""
    (first, second), whole = halves(1)
    accumulated, at_once = trained(2, [first, second]), trained(1, [whole])
    start = snapshot(built(dynakd_cfg(1, selection=dict(probs='t0'))))
    for key, value in accumulated.architecture.state_dict().items():
        assert not torch.equal(value, start[f'lanes.search.student.{key}'])
        torch.testing.assert_close(
            value, at_once.architecture.state_dict()[key], rtol=1e-5, atol=1e-7
        )
    assert differing(start, snapshot(trained(2, [first]))) == [
        '_extra_state'
    ]  # half way: nothing moved


def test_accumulation_of_theta_equals_the_double_batch():
    (first, second), whole = halves(2)
    accumulated = trained(1, [], [first, second], dict(accumulative_counts=2))
    at_once = trained(1, [], [whole])
    assert alpha(at_once).abs().min() > 1e-6
    torch.testing.assert_close(alpha(accumulated).data, alpha(at_once).data, rtol=1e-4, atol=1e-9)
    assert alpha(trained(1, [], [first], dict(accumulative_counts=2))).tolist() == [0, 0, 0]


def test_an_upper_step_leaves_the_students_accumulated_gradient():
    """And a lower step that of θ, each half way through its accumulation."""
    model = built(dynakd_cfg(3))
    optim = bilevel(model, theta=dict(optimizer=SGD, accumulative_counts=2), accumulative_counts=2)
    model.train_step(made_batch(seed=0), optim)
    student = {n: p.grad.clone() for n, p in model.architecture.named_parameters()}
    model.upper_step(made_batch(seed=1), optim)
    kept = alpha(model).grad.clone()
    assert all(torch.equal(p.grad, student[n]) for n, p in model.architecture.named_parameters())
    model.train_step(made_batch(seed=2), optim)
    assert torch.equal(alpha(model).grad, kept)
    assert kept.abs().max() > 0


def test_an_upper_step_leaves_no_gradient_in_the_connectors():
    """They belong to the lower step, though the upper loss runs through them."""
    cfg = kd_distiller_cfg()
    cfg['connectors'] = dict(
        map=dict(type='mmrazor.ConvModuleConnector', in_channel=4, out_channel=6)
    )
    for side in ('student', 'teacher'):
        cfg[f'{side}_recorders']['logits']['source'] = 'backbone.conv2'
    cfg['loss_forward_mappings']['loss_kl']['preds_S']['connector'] = 'map'
    model = built(dynakd_cfg({f't{i}': teacher_cfg(channels=6) for i in range(2)}, distiller=cfg))
    optim = bilevel(model)
    model.upper_step(made_batch(), optim)
    assert alpha(model).abs().max() > 0
    assert [name for name, p in model.named_parameters() if p.grad is not None] == []
    before = snapshot(model.lanes['search'].distiller)
    model.train_step(made_batch(), optim)
    assert any(
        'connectors.map.' in key
        for key in differing(before, snapshot(model.lanes['search'].distiller))
    )


def test_clipping_is_each_entrys_own():
    small, large, theta = parameter(3.0, 4.0), parameter(3.0, 4.0), parameter(3.0, 4.0)
    clipped = dict(clip_grad=dict(max_norm=1.0))
    optim = bare(
        **{
            'a': entry(small, **clipped),
            'b': entry(large),
            'a.theta': entry(theta, clip_grad=dict(type='value', clip_value=0.5)),
        }
    )
    optim.update_params(
        dict(a=(small**2).sum() / 2, b=(large**2).sum() / 2)
    )  # gradients (3, 4), of norm 5
    optim.update_theta(dict(a=(theta**2).sum() / 2), dict(a=theta))
    torch.testing.assert_close(small.data, torch.tensor([3 - 0.6, 4 - 0.8]), rtol=1e-5, atol=0)
    torch.testing.assert_close(large.data, torch.zeros(2))
    torch.testing.assert_close(theta.data, torch.tensor([2.5, 3.5]))


def test_the_scale_of_amp_is_each_entrys_own():
    params = [parameter(1.0, 2.0) for _ in range(3)]
    made = [
        ScaledOptimWrapper(torch.optim.SGD([p], lr=0.1), scale=s)
        for p, s in zip(params, (4.0, 1024.0, 16.0))
    ]
    seen = []
    optim = bare(**{'a': made[0], 'b': made[1], 'a.theta': made[2]})
    for p in params:
        p.register_hook(lambda grad: seen.append(grad[1].item()))
    optim.update_params({name: (p**2).sum() for name, p in zip('ab', params)})
    optim.update_theta(dict(a=(params[2] ** 2).sum()), dict(a=params[2]))
    assert sorted(seen[:2]) == [16.0, 4096.0]
    assert seen[2:] == [64.0]
    for p in params:
        torch.testing.assert_close(p.data, torch.tensor([0.8, 1.6]))
