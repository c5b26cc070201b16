"""CIFAR backbones against the public networks that they stand for.

The figures are those of the public code itself, with 100 classes: CRD (github.com/HobbitLong/RepDistiller; mdistiller's
networks give the same ones), pytorch-cifar-models (github.com/chenyaofo/pytorch-cifar-models) and torchdistill
(github.com/yoshitomo-matsubara/torchdistill).
"""
import hashlib

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from mmpretrain.structures import DataSample
from torch import nn

from mmdynakd.models import backbones
from mmdynakd.models.backbones.parts import shuffle_channels
from mmdynakd.models.heads import MLPClsHead
from mmdynakd.registry import MODELS

# network: (type, arguments, public name of head.fc, parameters, start of the sha256 of sorted 'name shape' lines)
PUBLIC = {
    'crd resnet8x4': ('CifarResNet', dict(depth=8, width_factor=4), 'fc', 1233540, 'b2ead61a142ef3af'),
    'crd wrn_16_1': ('CifarWideResNet', dict(depth=16), 'fc', 180916, 'b4de1d786e12f08a'),
    'crd wrn_16_2': ('CifarWideResNet', dict(depth=16, widen_factor=2), 'fc', 703284, '2266f04469bf5dd9'),
    'crd wrn_40_1': ('CifarWideResNet', dict(depth=40), 'fc', 569780, '01abc5646d8c075c'),
    'crd wrn_40_2': ('CifarWideResNet', dict(depth=40, widen_factor=2), 'fc', 2255156, '595ec0db20d1ca1c'),
    'crd wrn_28_4': ('CifarWideResNet', dict(depth=28, widen_factor=4), 'fc', 5872180, 'f5d8ffff5eb323ce'),
    'torchdistill wrn_16_2': ('CifarWideResNetRaw', dict(depth=16, widen_factor=2), 'fc', 703284, '5df3f739777ee6aa'),
    'torchdistill wrn_40_4': ('CifarWideResNetRaw', dict(depth=40, widen_factor=4), 'fc', 8972340, '9f2aa9b70aeb831c'),
    'crd vgg8': ('CifarVGG', dict(depth=8), 'classifier', 3965028, '7f85b8479109415f'),
    'crd vgg11': ('CifarVGG', dict(depth=11), 'classifier', 9277284, '6053995f63325762'),
    'crd vgg13': ('CifarVGG', dict(depth=13), 'classifier', 9462180, '5778ceb5832ef6a7'),
    'crd vgg16': ('CifarVGG', dict(depth=16), 'classifier', 14774436, '0729229b18559f53'),
    'crd vgg19': ('CifarVGG', dict(depth=19), 'classifier', 20086692, 'e27ccb5da4f3ad9e'),
    'crd MobileNetV2': ('CifarMobileNetV2', dict(), 'classifier.0', 812836, '54501c9a7e317631'),
    'crd MobileNetV2 1.0': ('CifarMobileNetV2', dict(widen_factor=1.), 'classifier.0', 2353060, 'cb860b6d7d42bd3d'),
    'crd MobileNetV2 1.4': ('CifarMobileNetV2', dict(widen_factor=1.4, expansion=4), 'classifier.0', 3312152,
                            '548503853af0a1a1'),
    'crd ShuffleV1': ('CifarShuffleNetV1', dict(), 'linear', 949258, '1282e767b3e9c6cd'),
    'crd ShuffleV1 g2': ('CifarShuffleNetV1', dict(groups=2), 'linear', 959672, '1e6ece0d4d274dfc'),
    'crd ShuffleV2': ('CifarShuffleNetV2', dict(), 'linear', 1355528, '9b7750ae03289b13'),
    'crd ShuffleV2 0.2': ('CifarShuffleNetV2', dict(widen_factor=0.2), 'linear', 220388, '945c0f6014d78e6a'),
    'crd ShuffleV2 0.3': ('CifarShuffleNetV2', dict(widen_factor=0.3), 'linear', 235588, '1d631997a8d355d4'),
    'crd ShuffleV2 0.5': ('CifarShuffleNetV2', dict(widen_factor=0.5), 'linear', 443716, 'c0635587c33e3c2f'),
    'crd ShuffleV2 1.5': ('CifarShuffleNetV2', dict(widen_factor=1.5), 'linear', 2580548, '23d6d5f4cabbff9c'),
    'crd ShuffleV2 2': ('CifarShuffleNetV2', dict(widen_factor=2), 'linear', 5521860, 'd8cd900b89901570'),
    'crd ResNet50': ('mmpretrain.ResNet_CIFAR', dict(depth=50), 'linear', 23705252, 'd5367c1bcc2c22ea'),
    'pcm vgg11_bn': ('CifarVGGFeatures', dict(depth=11), None, 9802596, 'edcf4ba191115235'),
    'pcm vgg13_bn': ('CifarVGGFeatures', dict(depth=13), None, 9987492, 'f4fa122c47429cdb'),
    'pcm vgg16_bn': ('CifarVGGFeatures', dict(depth=16), None, 15299748, '78a4789d1c27a1be'),
    'pcm vgg19_bn': ('CifarVGGFeatures', dict(depth=19), None, 20612004, 'afcb7ab2e85c50e3'),
    'pcm mobilenetv2_x0_5': ('CifarMobileNetV2Features', dict(widen_factor=0.5), 'classifier.1', 815780,
                             'd250405970b5241e'),
    'pcm mobilenetv2_x0_75': ('CifarMobileNetV2Features', dict(widen_factor=0.75), 'classifier.1', 1483524,
                              'f180105abd4ed29b'),
    'pcm mobilenetv2_x1_0': ('CifarMobileNetV2Features', dict(), 'classifier.1', 2351972, '2bfca962ecba5335'),
    'pcm mobilenetv2_x1_4': ('CifarMobileNetV2Features', dict(widen_factor=1.4), 'classifier.1', 4495076,
                             '5f6beb05648c29c3'),
    'pcm shufflenetv2_x0_5': ('CifarShuffleNetV2Stages', dict(widen_factor=0.5), 'fc', 444292, 'b128d22a99902dee'),
    'pcm shufflenetv2_x1_0': ('CifarShuffleNetV2Stages', dict(), 'fc', 1356104, '74133fed8cc8a760'),
    'pcm shufflenetv2_x1_5': ('CifarShuffleNetV2Stages', dict(widen_factor=1.5), 'fc', 2581124, '6f884861bbe474c4'),
    'pcm shufflenetv2_x2_0': ('CifarShuffleNetV2Stages', dict(widen_factor=2), 'fc', 5549896, '914bad4c6dec80cc'),
}
# network: two logits of the first image and the deviation of each feature map, from the public code in float64 with
# the values of ``planted``; a dict where the public code shows only some of the stages
VALUES = {
    'crd wrn_16_2': ([-7.509080345, 1.996498095], {0: 1.509585558, 1: 2.880535446}),
    'torchdistill wrn_16_2': ([-2.812444153, 17.01859914], {0: 1.87928657, 1: 6.500584107, 2: 11.9489329}),
    'crd vgg8': ([-0.3538216949, 0.08619657916],
                 {0: 0.5620731266, 1: 0.8566444482, 2: 1.251601214, 3: 1.672040721, 4: 1.584385899}),
    'crd MobileNetV2': ([11145.94269, 17812.08517], {1: 3.317746344, 2: 18.74599621, 4: 1943.085946, 6: 8413.613608}),
    'crd ShuffleV1': ([-71.52618593, -440.9048474], {0: 2.26308734, 1: 65.87265115, 2: 232.7845557}),
    'crd ShuffleV2': ([-407.9991387, 0.4890676639], {0: 1.790923818, 1: 38.75024762, 2: 148.2571404}),
    'pcm vgg11_bn': ([1.658443175, -6.145724927],
                     {0: 0.699226523, 1: 1.264816167, 2: 1.88128074, 3: 2.1781611, 4: 1.668988973}),
    'pcm mobilenetv2_x0_5': ([-0.6432812335, 2.377683113],
                             {0: 1.137617639, 1: 1.84423543, 2: 3.858635404, 3: 6.020994376, 4: 5.830236171,
                              5: 5.081686102, 6: 3.27882464, 7: 2.153649319}),
    'pcm shufflenetv2_x0_5': ([-230.279395, -84.37102411],
                              {0: 3.473376116, 1: 84.78991758, 2: 251.7113683, 3: 278.4720565}),
}
# type: (arguments, channels, sides) of every stage for 32x32 images
SHAPES = {
    'CifarWideResNet': (dict(depth=10, widen_factor=3), (48, 96, 192), (32, 16, 8)),
    'CifarWideResNetRaw': (dict(depth=10), (16, 32, 64), (32, 16, 8)),
    'CifarVGG': (dict(depth=8), (64, 128, 256, 512, 512), (32, 16, 8, 4, 4)),
    'CifarVGGFeatures': (dict(depth=11), (64, 128, 256, 512, 512), (16, 8, 4, 2, 1)),
    'CifarMobileNetV2': (dict(), (8, 12, 16, 32, 48, 80, 160, 1280), (16, 16, 8, 4, 4, 2, 2, 2)),
    'CifarMobileNetV2Features': (dict(widen_factor=1.4), (24, 32, 48, 88, 136, 224, 448, 1792),
                                 (32, 32, 16, 8, 8, 4, 4, 4)),
    'CifarShuffleNetV1': (dict(), (240, 480, 960), (16, 8, 4)),
    'CifarShuffleNetV2': (dict(widen_factor=2), (224, 488, 976, 2048), (16, 8, 4, 4)),
    'CifarShuffleNetV2Stages': (dict(widen_factor=2), (244, 488, 976, 2048), (16, 8, 4, 4)),
}
WRONG = [  # type, arguments, part of the message
    ('CifarWideResNet', dict(depth=18), '6n\\+4.*got 18'),
    ('CifarWideResNet', dict(depth=4), '6n\\+4.*got 4'),
    ('CifarWideResNet', dict(depth=16, widen_factor=0), 'widen_factor .*got 0'),
    ('CifarWideResNet', dict(depth=16, widen_factor=1.5), 'widen_factor .*got 1.5'),
    ('CifarWideResNet', dict(depth=16, drop_rate=1.), r'drop_rate must be in \[0, 1\), got 1.0'),
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
]


def typed(name, arguments):
    return {'type': name if '.' in name else f'mmdynakd.{name}', **arguments}


def classifier(name, arguments, plain_head=True, num_classes=100):
    with torch.device('meta'):
        width = MODELS.build(typed(name, arguments)).out_channels if 'ResNet_CIFAR' not in name else 2048
    head = 'LinearClsHead' if plain_head else 'mmdynakd.MLPClsHead'
    return MMPRETRAIN_MODELS.build({
        'type': 'ImageClassifier', 'backbone': typed(name, arguments), 'neck': {'type': 'GlobalAveragePooling'},
        'head': {'type': head, 'num_classes': num_classes, 'in_channels': width}})


def public_names(model, head):
    """Our name of every weight by its public one."""
    names = {}
    for key in model.state_dict():
        public = key.removeprefix('backbone.').removeprefix('head.')
        if key.startswith('head.fc.'):
            public = key.replace('head.fc', head)
        if type(model.backbone).__name__ == 'ResNet_CIFAR':
            public = public.replace('.downsample.', '.shortcut.')
        names[public] = key
    return names


def planted(shapes):
    """Values for every weight, drawn in the order of the sorted public names by numpy's stream that never changes."""
    stream, state = np.random.RandomState(0), {}
    for key in sorted(shapes):
        shape = tuple(shapes[key])
        draw = torch.from_numpy(stream.uniform(-1, 1, shape)) if shape else torch.tensor(0)
        if len(shape) > 1:
            state[key] = draw * (6 / draw[0].numel()) ** 0.5
        else:
            state[key] = 1 + draw / 2 if key.endswith(('running_var', '.weight')) else draw / 4
    return state


@pytest.mark.parametrize('network', PUBLIC)
def test_names_shapes_and_parameter_count_are_the_public_ones(network):
    name, arguments, head, parameters, digest = PUBLIC[network]
    # without memory, but for MMPretrain's network, which reads values as it is built
    with torch.device('cpu' if name.startswith('mmpretrain.') else 'meta'):
        model = classifier(name, arguments, plain_head=head is not None)
    state = model.state_dict()
    lines = sorted(f'{public} {tuple(state[key].shape)}' for public, key in public_names(model, head).items())
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert hashlib.sha256('\n'.join(lines).encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize('network', VALUES)
def test_features_and_logits_are_those_of_the_public_network(network):
    name, arguments, head = PUBLIC[network][:3]
    logits, deviations = VALUES[network]
    model = classifier(name, arguments | {'out_indices': range(len(SHAPES[name][1]))}, head is not None)
    model = model.double().eval()
    names, state = public_names(model, head), model.state_dict()
    weights = planted({public: state[key].shape for public, key in names.items()})
    model.load_state_dict({names[public]: value for public, value in weights.items()})
    image = torch.from_numpy(np.random.RandomState(1).uniform(-1, 1, (2, 3, 32, 32)))
    with torch.no_grad():
        features = model.backbone(image)
        assert model(image, mode='tensor')[0, :2].tolist() == pytest.approx(logits, rel=1e-8)
    for stage, deviation in deviations.items():
        assert features[stage].std().item() == pytest.approx(deviation, rel=1e-8)


@pytest.mark.parametrize('name', SHAPES)
def test_stages_have_their_shapes_and_out_indices_pick(name):
    arguments, channels, sides = SHAPES[name]
    every = MODELS.build(typed(name, arguments | {'out_indices': range(len(sides))})).eval()
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        outputs = every(image)
        assert [tuple(o.shape) for o in outputs] == [(2, c, s, s) for c, s in zip(channels, sides, strict=True)]
        assert every.out_channels == channels[-1]
        for picked in ((0, ), (1, len(sides) - 1)):
            some = MODELS.build(typed(name, arguments | {'out_indices': picked})).eval()
            some.load_state_dict(every.state_dict())
            for index, output in zip(picked, some(image), strict=True):
                assert torch.equal(output, outputs[index])
        last, = MODELS.build(typed(name, arguments))(image)
    assert last.shape == outputs[-1].shape


def test_every_backbone_is_registered_and_tried_here():
    assert set(backbones.__all__) == {*SHAPES, 'CifarResNet'}
    assert all(MODELS.get(f'mmdynakd.{name}') is getattr(backbones, name) for name in SHAPES)


@pytest.mark.parametrize(('name', 'arguments', 'message'), WRONG)
def test_wrong_arguments_are_named(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(backbones, name)(**arguments)


@pytest.mark.parametrize('name', SHAPES)
def test_stages_that_do_not_exist_are_refused(name):
    arguments, channels, _ = SHAPES[name]
    for indices in ((), (len(channels), ), (-1, ), (1, 0), (1, 1)):
        with torch.device('meta'), pytest.raises(ValueError, match=f'{name}: out_indices must be rising stages'):
            getattr(backbones, name)(**arguments, out_indices=indices)


@pytest.mark.parametrize('name', SHAPES)
def test_every_weight_learns_in_a_classifier(name):
    torch.manual_seed(0)
    small = {'CifarMobileNetV2Features': dict(widen_factor=0.5), 'CifarShuffleNetV2': dict(widen_factor=0.5),
             'CifarShuffleNetV2Stages': dict(widen_factor=0.5), 'CifarWideResNet': dict(depth=10, drop_rate=0.3)}
    model = classifier(name, small.get(name, SHAPES[name][0]), name != 'CifarVGGFeatures', num_classes=10).train()
    model.init_weights()
    samples = [DataSample().set_gt_label(label) for label in (0, 3, 9, 3)]
    loss = model(torch.randn(4, 3, 32, 32), samples, mode='loss')['loss']
    assert loss.item() == pytest.approx(np.log(10), rel=0.5)
    loss.backward()
    assert not [key for key, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    # a bias before a batch norm has no gradient by theory, weights have
    assert not [key for key, p in model.named_parameters() if key.endswith('weight') and not p.grad.any()]


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
    active, raw = backbones.CifarWideResNet(10, 2).eval(), backbones.CifarWideResNetRaw(10, 2).eval()
    renamed = {key.replace('block', 'layer').replace('.layer.', '.').replace('convShortcut', 'shortcut.0'): value
               for key, value in active.state_dict().items()}
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
        assert torch.equal(shuffle_channels(x, groups), x[:, order])


def test_mlp_head_is_linear_relu_dropout_and_linear():
    torch.manual_seed(0)
    head = MLPClsHead(num_classes=7, in_channels=40, hidden_channels=(500, 30), drop_rate=0.25)
    head.init_weights()
    linear = [module for module in head.modules() if isinstance(module, nn.Linear)]
    assert [key for key in head.state_dict() if key.endswith('weight')] == [f'classifier.{i}.weight' for i in (0, 3, 6)]
    assert linear[0].weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not any(layer.bias.any() for layer in linear)
    x = torch.randn(3, 40)
    expected = x
    for index, layer in enumerate(linear):
        expected = expected @ layer.weight.T + layer.bias
        expected = expected.clamp(min=0) if index < 2 else expected
    torch.testing.assert_close(head.eval()((torch.zeros(3, 1), x)), expected)
    assert [m.p for m in head.modules() if isinstance(m, nn.Dropout)] == [0.25, 0.25]
    assert not torch.equal(head.train()((x, )), head((x, )))


@pytest.mark.parametrize(('arguments', 'message'), [
    (dict(num_classes=0, in_channels=4), r'num_classes .* got \(0,\)'),
    (dict(num_classes=2, in_channels=-4), r'in_channels .* got \(-4,\)'),
    (dict(num_classes=2, in_channels=4, hidden_channels=(8, 2.5)), r'hidden_channels .* got \(8, 2.5\)'),
    (dict(num_classes=2, in_channels=4, drop_rate=-0.1), r'drop_rate .* got -0.1')])
def test_wrong_arguments_of_the_mlp_head_are_named(arguments, message):
    with pytest.raises(ValueError, match=f'MLPClsHead: {message}'):
        MLPClsHead(**arguments)
