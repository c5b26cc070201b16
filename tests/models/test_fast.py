"""The switch for speed: what it computes is what the plain path computes."""

import copy
import shutil

import pytest
import torch
from torch import nn
from toys import built, dynakd_cfg, kd_distiller_cfg, made_batch, prepared, snapshot, teacher_cfg
from zoo import SHAPES, typed

from mmdynakd.models.fast import Fast, plain_record
from mmdynakd.models.teachers import OUTPUTS
from mmdynakd.models.teachers.folding import fold, foldable_pairs
from mmdynakd.registry import MODELS

FP32, BF16 = Fast.parse('fp32'), Fast.parse('bf16')


def resnets(fast=None, **options):
    """A DynaKD of BatchNorm networks whose statistics are not those of a fresh network."""
    cfg = dynakd_cfg({f't{i}': teacher_cfg(backbone='resnet') for i in range(3)}, **options)
    cfg['architecture']['backbone'] = dict(type='mmdynakd.CifarResNet', depth=8)
    cfg['architecture']['head']['in_channels'] = 64
    model = built({**cfg, 'fast': fast})
    generator = torch.Generator().manual_seed(7)
    for network in model.ensemble.networks.values():
        trained(network, generator)
    return model


def trained(network, generator):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            shape = module.running_mean.shape
            module.running_mean.copy_(torch.randn(shape, generator=generator) * 0.3)
            module.running_var.copy_(torch.rand(shape, generator=generator) + 0.5)
            module.weight.data.copy_(torch.rand(shape, generator=generator) + 0.5)
            module.bias.data.copy_(torch.randn(shape, generator=generator) * 0.2)


def norms(network):
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


# What cannot be folded: BatchNorm that reads a sum or a concatenation.
LEFT = {'CifarWideResNet': 3, 'CifarWideResNetRaw': 4, 'CifarRepVGG': None}


@pytest.mark.parametrize('name', list(SHAPES))
def test_folding_leaves_what_a_network_of_the_zoo_computes(name):
    torch.manual_seed(0)
    network = MODELS.build(typed(name, SHAPES[name][0])).double().eval().requires_grad_(False)
    trained(network, torch.Generator().manual_seed(1))
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    before, count = network(images), norms(network)
    assert fold(network, lambda: network(images[:1])) == count - norms(network) > 0
    if LEFT.get(name, 0) is not None:
        assert norms(network) == LEFT.get(name, 0)
    for old, new in zip(before, network(images), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-9, atol=1e-9 * float(old.abs().max()))


class Traps(nn.Module):
    """Only ``plain`` may be folded."""

    class Standardized(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) * 2

    def __init__(self):
        super().__init__()
        for name in ('plain', 'read_twice', 'hooked', 'run_twice'):
            setattr(self, name, nn.Conv2d(3, 3, 3, padding=1))
        self.other = self.Standardized(3, 3, 3, padding=1)
        self.names = ('plain', 'read_twice', 'hooked', 'other', 'run_twice')
        self.norm = nn.ModuleDict({name: nn.BatchNorm2d(3) for name in self.names})
        self.unsure = nn.BatchNorm2d(3, track_running_stats=False)
        self.before = nn.Conv2d(3, 3, 1)
        self.hooked.register_forward_hook(lambda *_: None)

    def forward(self, x):
        x = self.norm['plain'](self.plain(x))
        y = self.read_twice(x)
        x = self.norm['read_twice'](y) + y.relu()
        x = self.norm['hooked'](self.hooked(x))
        x = self.norm['other'](self.other(x))
        x = self.norm['run_twice'](self.run_twice(self.run_twice(x)))
        return self.unsure(self.before(x))


def test_only_what_is_surely_equal_is_folded():
    torch.manual_seed(0)
    network = Traps().double().eval().requires_grad_(False)
    trained(nn.ModuleList(network.norm.values()), torch.Generator().manual_seed(2))
    images = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    pairs = foldable_pairs(network, lambda: network(images))
    assert pairs == [(network.plain, network.norm['plain'])]
    before = network(images)
    assert fold(network, lambda: network(images)) == 1
    assert isinstance(network.norm['plain'], nn.Identity)
    assert not any(p.requires_grad for p in network.parameters())
    torch.testing.assert_close(network(images), before)


def losses_and_gradients(model):
    losses, _ = model.parse_losses(model.loss(*prepared(model, made_batch())))
    sum(losses.values()).backward()
    upper = model.upper_losses(model.data_preprocessor(made_batch(seed=1), training=False))[
        'search'
    ]
    (alpha,) = torch.autograd.grad(upper, model.lanes['search'].selection.alpha)
    student = model.lanes['search'].student
    return losses['search'], upper, alpha, {name: p.grad for name, p in student.named_parameters()}


@pytest.mark.parametrize('fast', ['fp32', dict(channels_last=True), dict(fold=True)])
def test_fp32_equals_the_plain_path(fast):
    plain, quick = resnets(), resnets(fast)
    for model in (plain, quick):
        model.double(), model.ensemble.apply(lambda t: t.double())
    first, second = losses_and_gradients(plain), losses_and_gradients(quick)
    for old, new in zip(first[:3], second[:3]):
        torch.testing.assert_close(new, old, rtol=1e-10, atol=1e-12)
    for name, gradient in first[3].items():
        torch.testing.assert_close(second[3][name], gradient, rtol=1e-8, atol=1e-10)
    folded = [norms(network) == 0 for network in quick.ensemble.networks.values()]
    assert all(folded) if fast == 'fp32' or 'fold' in fast else not any(folded)
    if fast != dict(fold=True):
        assert quick.lanes['search'].student.backbone.conv1.weight.is_contiguous(
            memory_format=torch.channels_last
        )


def test_switched_off_nothing_is_touched():
    model, other = resnets(), resnets(dict(dtype=None, channels_last=False, fold=False))
    weights = snapshot(model.ensemble.networks['t0'])
    for made in (model, other):
        made.loss(*prepared(made, made_batch()))
    assert all(
        torch.equal(value, model.ensemble.networks['t0'].state_dict()[key])
        for key, value in weights.items()
    )
    assert norms(other.ensemble.networks['t0']) == norms(model.ensemble.networks['t0']) > 0


def test_bf16_keeps_weights_losses_and_gradients_plain_record32_and_is_near():
    plain, quick = resnets(), resnets('bf16')
    seen = []
    quick.lanes['search'].distiller.distillers['shared'].distill_losses[
        'loss_kl'
    ].register_forward_pre_hook(
        lambda module, args, kwargs: seen.extend([*args, *kwargs.values()]), with_kwargs=True
    )
    first, second = losses_and_gradients(plain), losses_and_gradients(quick)
    assert {value.dtype for value in second[:3]} == {torch.float32}
    assert len(seen) == 4
    assert {record.dtype for record in seen} == {torch.float32}
    for old, new in zip(first[:2], second[:2]):
        torch.testing.assert_close(new, old, rtol=0.03, atol=0.01)
        assert not torch.equal(new, old)  # else nothing ran in bfloat16
    assert torch.nn.functional.cosine_similarity(first[2], second[2], dim=0) > 0.95
    student = quick.lanes['search'].student
    assert (
        {p.dtype for p in student.parameters()}
        == {p.grad.dtype for p in student.parameters()}
        == {torch.float32}
    )
    drawn = [network for name, network in quick.ensemble.networks.items()]
    assert all(network.backbone.conv1.weight.dtype == torch.bfloat16 for network in drawn)
    total = [torch.cat([g.flatten() for g in side[3].values()]) for side in (first, second)]
    assert torch.nn.functional.cosine_similarity(*total, dim=0) > 0.99


def test_a_step_in_bf16_of_features_with_a_connector():
    recorders = dict(feature=dict(type='ModuleOutputs', source='backbone.layer2'))
    distiller = dict(
        student_recorders=recorders,
        teacher_recorders=copy.deepcopy(recorders),
        connectors=dict(adapt=dict(type='ConvModuleConnector', in_channel=32, out_channel=32)),
        distill_losses=dict(loss_feature=dict(type='L2Loss')),
        loss_forward_mappings=dict(
            loss_feature=dict(
                s_feature=dict(from_student=True, recorder='feature', connector='adapt'),
                t_feature=dict(from_student=False, recorder='feature'),
            )
        ),
    )
    first, second, third = [
        losses_and_gradients(resnets(fast, distiller=distiller)) for fast in (None, 'bf16', 'fp32')
    ]
    torch.testing.assert_close(second[0], first[0], rtol=0.03, atol=0.01)
    torch.testing.assert_close(third[0], first[0], rtol=1e-5, atol=1e-5)


def test_a_folded_teacher_records_what_it_recorded():
    """BatchNorm's own output, under its name, is still there; a module that is hooked stays."""
    for source, kept in (('backbone.layer1', 0), ('backbone.bn1', 1), ('backbone.conv1', 1)):
        records = []
        for fast in (None, 'fp32'):
            model = resnets(fast, distiller=kd_distiller_cfg())
            key = model.ensemble.record('t1', dict(type='ModuleOutputs', source=source))
            inputs, _ = prepared(model, made_batch())
            records.append(model.ensemble.run(['t1'], inputs)['t1'][key][0])
        torch.testing.assert_close(records[1], records[0], rtol=1e-4, atol=1e-4)
        assert norms(model.ensemble.networks['t1']) == kept
        with pytest.raises(ValueError, match='ask for its recorders before'):
            model.ensemble.record('t1', dict(type='ModuleOutputs', source='backbone.layer3'))


@pytest.mark.skipif(
    shutil.which('g++') is None and shutil.which('clang++') is None,
    reason='torch.compile on a CPU needs a C++ compiler',
)
@pytest.mark.slow
def test_compiled_teachers_equal_the_plain_ones():
    plain, quick = resnets(), resnets(dict(compile=True, fold=True, channels_last=True))
    inputs, _ = prepared(plain, made_batch())
    old, new = (model.ensemble.run(['t0'], inputs)['t0'] for model in (plain, quick))
    torch.testing.assert_close(new[OUTPUTS][0], old[OUTPUTS][0], rtol=1e-4, atol=1e-4)
    part = quick.ensemble.networks['t0'].backbone
    assert 'forward' in vars(part)
    assert 'forward' not in vars(quick.ensemble.networks['t0'].head)


@pytest.mark.parametrize(
    'value', ['fp16', True, dict(dtype='float16'), dict(folding=True), dict(fold=1), 3]
)
def test_another_value_is_an_error_that_names_the_key(value):
    with pytest.raises(ValueError, match=r'^fast[. ]'):
        resnets(value)


def test_a_record_is_float32_and_row_major_and_otherwise_itself():
    record = (torch.ones(2, dtype=torch.bfloat16), [torch.ones(2, dtype=torch.float64), None], 'x')
    out = plain_record(record)
    assert out[0].dtype == torch.float32
    assert out[1][0].dtype == torch.float64
    assert out[1][1] is None
    assert out[2] == 'x'
    same = torch.ones(2, 2, 2, 2)
    assert plain_record(same) is same
    feature = torch.ones(2, 2, 2, 2).to(memory_format=torch.channels_last).requires_grad_()
    plain_record([feature])[0].view(2, -1).sum().backward()
    assert feature.grad.sum() == 16


def test_a_lane_in_bf16_equals_its_solo_run():
    lanes = {name: dict(selection=dict(probs=name)) for name in ('t0', 't1')}
    both = resnets('bf16', lanes=lanes)
    together = both.loss(*prepared(both, made_batch()))
    for name in lanes:
        alone = resnets('bf16', lanes={name: lanes[name]})
        losses = alone.loss(*prepared(alone, made_batch()))
        assert all(torch.equal(value, together[key]) for key, value in losses.items())
