"""CIFAR backbones on their own: stages, arguments, dropout, image sizes; and the MLP head."""

import pytest
import torch
from mmpretrain.models.utils import channel_shuffle
from torch import nn
from zoo import SHAPES, typed

from mmdynakd.models import backbones
from mmdynakd.models.heads import MLPClsHead
from mmdynakd.registry import MODELS

WRONG = [  # type, arguments, part of the message
    ('CifarWideResNet', dict(depth=18), '6n\\+4.*got 18'),
    ('CifarWideResNet', dict(depth=4), '6n\\+4.*got 4'),
    ('CifarWideResNet', dict(depth=16, widen_factor=0), 'widen_factor .*got 0'),
    ('CifarWideResNet', dict(depth=16, widen_factor=1.5), 'widen_factor .*got 1.5'),
    ('CifarWideResNet', dict(depth=16, drop_rate=1.0), r'drop_rate must be in \[0, 1\), got 1.0'),
    ('CifarWideResNetRaw', dict(depth=20), 'CifarWideResNetRaw: depth .*got 20'),
    ('CifarVGG', dict(depth=12), r'one of \[8, 11, 13, 16, 19\], got 12'),
    ('CifarVGGFeatures', dict(depth=8), r'one of \[11, 13, 16, 19\], got 8'),
    ('CifarMobileNetV2', dict(widen_factor=0), 'widen_factor must be above 0, got 0'),
    ('CifarMobileNetV2', dict(widen_factor=0.05), '1/16 or more, got 0.05'),
    ('CifarMobileNetV2', dict(expansion=0), 'expansion must be above 0, got 0'),
    ('CifarMobileNetV2Features', dict(widen_factor=-1), 'widen_factor must be above 0, got -1'),
    ('CifarShuffleNetV1', dict(groups=4), r'groups must be one of \[2, 3\], got 4'),
    ('CifarShuffleNetV2', dict(widen_factor=0.7), r'one of \[0.2, 0.3, 0.5, 1, 1.5, 2\], got 0.7'),
    ('CifarShuffleNetV2Stages', dict(widen_factor=0.2), r'one of \[0.5, 1, 1.5, 2\], got 0.2'),
    ('CifarRepVGG', dict(arch='a0'), r"arch must be one of \['A0', 'A1', 'A2'\], got a0"),
]


@pytest.mark.parametrize('name', SHAPES)
def test_stages_have_their_shapes_and_out_indices_pick(name):
    arguments, channels, sides = SHAPES[name]
    every = MODELS.build(typed(name, arguments | {'out_indices': range(len(sides))})).eval()
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        outputs = every(image)
        assert [tuple(o.shape) for o in outputs] == [
            (2, c, s, s) for c, s in zip(channels, sides, strict=True)
        ]
        assert every.out_channels == channels[-1]
        for picked in ((0,), (1, len(sides) - 1)):
            some = MODELS.build(typed(name, arguments | {'out_indices': picked})).eval()
            some.load_state_dict(every.state_dict())
            for index, output in zip(picked, some(image), strict=True):
                assert torch.equal(output, outputs[index])
        (last,) = MODELS.build(typed(name, arguments))(image)
    assert last.shape == outputs[-1].shape


def test_every_backbone_is_registered_and_tried_here():
    assert set(backbones.__all__) == set(SHAPES)
    assert all(MODELS.get(f'mmdynakd.{name}') is getattr(backbones, name) for name in SHAPES)


@pytest.mark.parametrize(('name', 'arguments', 'message'), WRONG)
def test_wrong_arguments_are_named(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(backbones, name)(**arguments)


@pytest.mark.parametrize('name', SHAPES)
def test_stages_that_do_not_exist_are_refused(name):
    arguments, channels, _ = SHAPES[name]
    for indices in ((), (len(channels),), (-1,), (1, 0), (1, 1)):
        with (
            torch.device('meta'),
            pytest.raises(ValueError, match=f'{name}: out_indices must be rising stages'),
        ):
            getattr(backbones, name)(**arguments, out_indices=indices)


@pytest.mark.parametrize('kind', [backbones.CifarWideResNet, backbones.CifarWideResNetRaw])
def test_dropout_of_wide_residual_networks_acts_in_training_only(kind):
    plain, dropping = kind(10), kind(10, drop_rate=0.5)
    dropping.load_state_dict(plain.state_dict())
    image = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(plain.eval()(image)[0], dropping.eval()(image)[0])
        assert not torch.equal(dropping.train()(image)[0], dropping(image)[0])
        assert torch.equal(plain.train()(image)[0], plain(image)[0])


def test_the_two_wide_residual_networks_are_different_maps():
    """Same shapes and, in order, the same weights, another place of the shortcut."""
    active, raw = (
        backbones.CifarWideResNet(10, 2).eval(),
        backbones.CifarWideResNetRaw(10, 2).eval(),
    )
    renamed = {
        key.replace('block', 'layer')
        .replace('.layer.', '.')
        .replace('convShortcut', 'shortcut.0'): value
        for key, value in active.state_dict().items()
    }
    raw.load_state_dict(renamed)
    image = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        assert not torch.allclose(active(image)[0], raw(image)[0], rtol=0.01)


def test_images_of_64_pixels_pass_one_more_pooling_in_vgg():
    net = backbones.CifarVGG(8, out_indices=(0, 1, 2, 3, 4)).eval()
    with torch.no_grad():
        assert [o.shape[-1] for o in net(torch.randn(1, 3, 64, 64))] == [64, 32, 16, 8, 4]


def test_grey_images():
    for name, (arguments, channels, _) in SHAPES.items():
        net = MODELS.build(typed(name, arguments | {'in_channels': 1})).eval()
        with torch.no_grad():
            assert net(torch.zeros(1, 1, 32, 32))[0].shape[1] == channels[-1]


def test_shuffling_deals_the_groups_out_in_turn():
    x = torch.randn(2, 12, 3, 5)
    for groups in (1, 2, 3, 4):
        size = 12 // groups
        order = [group * size + place for place in range(size) for group in range(groups)]
        assert torch.equal(channel_shuffle(x, groups), x[:, order])


def test_mlp_head_is_linear_relu_dropout_and_linear():
    torch.manual_seed(0)
    head = MLPClsHead(num_classes=7, in_channels=40, hidden_channels=(500, 30), drop_rate=0.25)
    head.init_weights()
    assert head.num_classes == 7  # the ensemble compares it with the student's
    linear = [module for module in head.modules() if isinstance(module, nn.Linear)]
    assert [key for key in head.state_dict() if key.endswith('weight')] == [
        f'classifier.{i}.weight' for i in (0, 3, 6)
    ]
    assert linear[0].weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not any(layer.bias.any() for layer in linear)
    x = torch.randn(3, 40)
    expected = x
    for index, layer in enumerate(linear):
        expected = expected @ layer.weight.T + layer.bias
        expected = expected.clamp(min=0) if index < 2 else expected
    torch.testing.assert_close(head.eval()((torch.zeros(3, 1), x)), expected)
    assert [m.p for m in head.modules() if isinstance(m, nn.Dropout)] == [0.25, 0.25]
    assert not torch.equal(head.train()((x,)), head((x,)))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(num_classes=0, in_channels=4), r'num_classes .* got \(0,\)'),
        (dict(num_classes=2, in_channels=-4), r'in_channels .* got \(-4,\)'),
        (
            dict(num_classes=2, in_channels=4, hidden_channels=(8, 2.5)),
            r'hidden_channels .* got \(8, 2.5\)',
        ),
        (dict(num_classes=2, in_channels=4, drop_rate=-0.1), r'drop_rate .* got -0.1'),
    ],
)
def test_wrong_arguments_of_the_mlp_head_are_named(arguments, message):
    with pytest.raises(ValueError, match=f'MLPClsHead: {message}'):
        MLPClsHead(**arguments)
