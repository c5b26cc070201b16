"""The 6n+2 CIFAR residual networks: form, gradients, and agreement with real checkpoints."""

import math

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from torch import nn

from mmdynakd.datasets import CIFAR100
from mmdynakd.models.backbones import CifarResNet
from mmdynakd.registry import MODELS

TEACHERS = {  # file: (depth, width factor, val accuracy in the folder's README)
    'resnet8': (8, 1, 50.24),
    'resnet14': (14, 1, 60.84),
    'resnet20': (20, 1, 62.40),
    'resnet32': (32, 1, 63.72),
    'resnet56': (56, 1, 67.76),
    'resnet8x4': (8, 4, 70.82),
}


def closed_form_count(depth, stem, stages, in_channels=3):
    """Parameters of the backbone, term by term: convolutions k*k*in*out, batch norms 2*out."""
    blocks = (depth - 2) // 6
    total, before = 9 * in_channels * stem + 2 * stem, stem
    for index, width in enumerate(stages):
        total += 9 * before * width + (2 * blocks - 1) * 9 * width * width + 2 * blocks * 2 * width
        if index > 0 or before != width:
            total += before * width + 2 * width
        before = width
    return total


def classifier(depth, width_factor):
    backbone = {'type': 'mmdynakd.CifarResNet', 'depth': depth, 'width_factor': width_factor}
    return MMPRETRAIN_MODELS.build(
        {
            'type': 'ImageClassifier',
            'backbone': backbone,
            'neck': {'type': 'GlobalAveragePooling'},
            'head': {'type': 'LinearClsHead', 'num_classes': 100, 'in_channels': 64 * width_factor},
            'data_preprocessor': {
                'type': 'ClsDataPreprocessor',
                'mean': [129.304, 124.070, 112.434],
                'std': [68.170, 65.392, 70.418],
                'to_rgb': False,
            },
        }
    )


def lineage_state(shared, name):
    weights = torch.load(shared / 'teachers' / f'{name}.pth', weights_only=True)['model']
    return {
        ('head.' if key.startswith('fc.') else 'backbone.') + key: weights[key] for key in weights
    }


@pytest.mark.parametrize(
    ('width_factor', 'stem', 'stages'), [(1, 16, (16, 32, 64)), (4, 32, (64, 128, 256))]
)
@pytest.mark.parametrize('depth', [8, 14, 20, 32, 44, 56, 110])
def test_parameter_count_is_the_closed_form(depth, width_factor, stem, stages):
    net = CifarResNet(depth, width_factor)
    assert sum(p.numel() for p in net.parameters()) == closed_form_count(depth, stem, stages)
    assert net.out_channels == stages[-1]
    # depth counts weighted layers: every 3x3 convolution and the classifier, not the shortcuts
    assert (
        sum(m.kernel_size == (3, 3) for m in net.modules() if isinstance(m, nn.Conv2d)) + 1 == depth
    )


def test_stage_shapes_and_values():
    every = CifarResNet(14, out_indices=(0, 1, 2)).eval()
    outputs = every(torch.randn(2, 3, 32, 32))
    assert [tuple(o.shape) for o in outputs] == [(2, 16, 32, 32), (2, 32, 16, 16), (2, 64, 8, 8)]
    assert all((o >= 0).all() for o in outputs)
    some = CifarResNet(14, out_indices=[1]).eval()
    some.load_state_dict(every.state_dict())
    image = torch.randn(1, 3, 32, 32)
    assert len(some(image)) == 1
    assert torch.equal(some(image)[0], every(image)[1])


def test_small_grey_images():
    outputs = CifarResNet(8, in_channels=1, out_indices=(0, 2))(torch.randn(4, 1, 8, 8))
    assert [tuple(o.shape) for o in outputs] == [(4, 16, 8, 8), (4, 64, 2, 2)]


@pytest.mark.parametrize('depth', [2, 7, 9, 18, 22, -4])
def test_depth_outside_the_family_is_refused(depth):
    with pytest.raises(ValueError, match=f'6n\\+2.*got {depth}'):
        CifarResNet(depth)


def test_unknown_width_and_stages_are_refused():
    with pytest.raises(ValueError, match=r'width_factor must be one of \[1, 4\], got 2'):
        CifarResNet(8, width_factor=2)
    for indices in ((), (3,), (-1,), (1, 0), (2, 2)):
        with pytest.raises(ValueError, match='rising stages'):
            CifarResNet(8, out_indices=indices)


def test_gradient_is_the_finite_difference():
    torch.manual_seed(0)
    net = CifarResNet(8).double().train()
    image = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    parameters = list(net.parameters())
    gradients = torch.autograd.grad(net(image)[0].pow(2).sum(), parameters)
    assert all(g.abs().max() > 0 for g in gradients)
    direction = [torch.randn_like(p) / math.sqrt(p.numel()) for p in parameters]
    step, values = 1e-6, []
    with torch.no_grad():
        for shift in (step, -2 * step):
            torch._foreach_add_(parameters, direction, alpha=shift)
            values.append(net(image)[0].pow(2).sum())
    slope = (values[0] - values[1]) / (2 * step)
    expected = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))
    torch.testing.assert_close(slope, expected, rtol=1e-5, atol=0)


def test_initialisation_is_he_normal_fan_out():
    torch.manual_seed(0)
    net = CifarResNet(20)
    net.bn1.weight.data.fill_(7.0)
    net.init_weights()
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 5000:
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            assert module.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
        if isinstance(module, nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight))
            assert torch.equal(module.bias, torch.zeros_like(module.bias))


def test_registered_and_chains_train_and_eval():
    net = MODELS.build({'type': 'mmdynakd.CifarResNet', 'depth': 8})
    assert net.eval() is net
    assert net.train() is net


@pytest.mark.parametrize('name', TEACHERS)
def test_real_teachers_load_strictly(shared, name):
    depth, width_factor, _ = TEACHERS[name]
    model = classifier(depth, width_factor)
    state = lineage_state(shared, name)
    model.load_state_dict(state, strict=True)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize('name', ['resnet8', 'resnet20'])
def test_real_teachers_reach_their_accuracy_on_val(shared, cifar100_root, name):
    depth, width_factor, told = TEACHERS[name]
    model = classifier(depth, width_factor).eval()
    model.load_state_dict(lineage_state(shared, name))
    data = CIFAR100(cifar100_root, split='val', verify=False, download=False, serialize_data=False)
    images = torch.from_numpy(np.stack([d['img'] for d in data.data_list])).permute(0, 3, 1, 2)
    labels = torch.tensor([d['gt_label'] for d in data.data_list])
    right = 0
    with torch.no_grad():
        for batch, target in zip(images.split(500), labels.split(500), strict=True):
            inputs = model.data_preprocessor({'inputs': batch})['inputs']
            right += (model(inputs, mode='tensor').argmax(1) == target).sum().item()
    assert len(labels) == 5000
    assert 100 * right / 5000 == pytest.approx(
        told, abs=0.3
    )  # the README's figure was taken in bf16
