"""SyncBatchNorm of two ranks is BatchNorm of both their samples, backwards and in forward mode."""

import copy

import pytest
import torch
from torch import nn
from toys import built, dynakd_cfg, kd_distiller_cfg, student_cfg

from mmdynakd.models import sync_bn
from mmdynakd.models.sync_bn import SYNCHRONIZED, SyncBatchNorm, synchronize

SHAPES = {nn.BatchNorm1d: (5, 3), nn.BatchNorm2d: (5, 3, 4, 2), nn.BatchNorm3d: (4, 3, 2, 3, 2)}
OPTIONS = [
    {},
    dict(affine=False),
    dict(momentum=None),
    dict(track_running_stats=False),
    dict(eps=0.1, momentum=0.3),
]


@pytest.fixture
def two_ranks(monkeypatch):
    """A second rank that holds the same numbers: what is summed doubles."""
    monkeypatch.setattr(sync_bn, 'get_world_size', lambda: 2)
    monkeypatch.setattr(sync_bn, 'all_reduce', lambda tensor: tensor.mul_(2))


def pair(kind: type, **options) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    """A BatchNorm, the same synchronised, and samples, in float64."""
    torch.manual_seed(0)
    plain = kind(3, **options).double()
    for p in plain.parameters():
        nn.init.normal_(p)
    synced = nn.Sequential(copy.deepcopy(plain))
    synchronize(synced)
    assert type(synced[0]) is SYNCHRONIZED[kind]
    return plain, synced[0], torch.randn(SHAPES[kind], dtype=torch.float64)


@pytest.mark.parametrize('options', OPTIONS, ids=str)
@pytest.mark.parametrize('kind', SHAPES)
def test_outputs_gradients_and_statistics_are_those_of_both_ranks(two_ranks, kind, options):
    plain, synced, x = pair(kind, **options)
    whole, own = torch.cat([x, x]).requires_grad_(), x.clone().requires_grad_()
    for _ in range(2):
        expected, found = plain(whole), synced(own)
    torch.testing.assert_close(found, expected[: len(x)], atol=1e-12, rtol=0)
    expected.pow(3).sum().backward()
    found.pow(3).sum().backward()
    torch.testing.assert_close(own.grad, whole.grad[: len(x)], atol=1e-10, rtol=0)
    for p, q in zip(plain.parameters(), synced.parameters()):
        torch.testing.assert_close(2 * q.grad, p.grad, atol=1e-10, rtol=0)  # the ranks' sum
    for (name, p), (_, q) in zip(plain.named_buffers(), synced.named_buffers(), strict=True):
        torch.testing.assert_close(q, p, atol=1e-12, rtol=0, msg=name)


def test_forward_mode(two_ranks):
    plain, synced, x = pair(nn.BatchNorm2d)
    tangent = torch.randn_like(x)
    double = (torch.cat([x, x]),), (torch.cat([tangent, tangent]),)
    plain.track_running_stats = synced.track_running_stats = False
    _, expected = torch.func.jvp(plain, *double)
    _, found = torch.func.jvp(synced, (x,), (tangent,))
    torch.testing.assert_close(found, expected[: len(x)], atol=1e-12, rtol=0)


@pytest.mark.parametrize('training', [True, False])
def test_one_process_and_eval_mode_are_plain(training):
    plain, synced, x = pair(nn.BatchNorm2d)
    plain.train(training), synced.train(training)
    assert torch.equal(plain(x), synced(x))
    assert torch.equal(plain.running_var, synced.running_var)


def test_half_precision_keeps_its_type(two_ranks):
    _, synced, x = pair(nn.BatchNorm2d)
    assert synced.float()(x.bfloat16()).dtype == torch.bfloat16


def test_another_batch_norm_is_an_error():
    with pytest.raises(ValueError, match='sync_bn: 0 is a LazyBatchNorm2d'):
        synchronize(nn.Sequential(nn.LazyBatchNorm2d()))


def test_every_students_norms_and_no_teachers():
    model = built(
        dynakd_cfg(
            2,
            student=student_cfg(backbone='resnet'),
            sync_bn=True,
            lanes=dict(search={}, ce=dict(selection=None)),
        )
    )
    for lane in model.lanes.values():
        norms = [m for m in lane.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        assert norms
        assert all(isinstance(m, SyncBatchNorm) for m in norms)
    plain = built(dynakd_cfg(2, student=student_cfg(backbone='resnet')))
    assert model.architecture.state_dict().keys() == plain.architecture.state_dict().keys()


def test_connectors_that_some_ranks_do_not_use_are_an_error():
    each = {f't{i}': kd_distiller_cfg(reduction='none') for i in range(2)}
    cfg = dynakd_cfg(
        2,
        distiller=each,
        mix='losses',
        selection=dict(granularity='sample'),
        sync_bn=True,
    )
    with pytest.raises(
        ValueError,
        match="sync_bn does not go with a distiller per teacher and granularity='sample'",
    ):
        built(cfg)
