"""The public CIFAR networks as data, for tests: names, parameter counts, values.

The figures are those of the public code itself, with 100 classes: CRD
(github.com/HobbitLong/RepDistiller; mdistiller's networks give the same ones), pytorch-cifar-models
(github.com/chenyaofo/pytorch-cifar-models, here "pcm") and torchdistill
(github.com/yoshitomo-matsubara/torchdistill).
"""

import numpy as np
import torch
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS

import mmdynakd.models  # noqa: F401  registers the backbones
from mmdynakd.registry import MODELS

# network: (type, arguments, public name of head.fc, parameters, start of the sha256 of sorted 'name
# shape' lines)
PUBLIC = {
    'crd and pcm resnet20': ('CifarResNet', dict(depth=20), 'fc', 278324, '0386434ca6f34c26'),
    'crd and pcm resnet32': ('CifarResNet', dict(depth=32), 'fc', 472756, '9e5592f61f0020a8'),
    'crd and pcm resnet44': ('CifarResNet', dict(depth=44), 'fc', 667188, 'df3dce284c7a26b4'),
    'crd and pcm resnet56': ('CifarResNet', dict(depth=56), 'fc', 861620, 'fa692cabb2e3a217'),
    'crd resnet8': ('CifarResNet', dict(depth=8), 'fc', 83892, '99cb0c0b2ea3c613'),
    'crd resnet14': ('CifarResNet', dict(depth=14), 'fc', 181108, '629933907d5744ff'),
    'crd resnet110': ('CifarResNet', dict(depth=110), 'fc', 1736564, '9ca5a9542fb3a343'),
    'crd resnet8x4': (
        'CifarResNet',
        dict(depth=8, width_factor=4),
        'fc',
        1233540,
        'b2ead61a142ef3af',
    ),
    'crd resnet32x4': (
        'CifarResNet',
        dict(depth=32, width_factor=4),
        'fc',
        7433860,
        '99154b2aea1aeb59',
    ),
    'crd wrn_16_1': ('CifarWideResNet', dict(depth=16), 'fc', 180916, 'b4de1d786e12f08a'),
    'crd wrn_16_2': (
        'CifarWideResNet',
        dict(depth=16, widen_factor=2),
        'fc',
        703284,
        '2266f04469bf5dd9',
    ),
    'crd wrn_40_1': ('CifarWideResNet', dict(depth=40), 'fc', 569780, '01abc5646d8c075c'),
    'crd wrn_40_2': (
        'CifarWideResNet',
        dict(depth=40, widen_factor=2),
        'fc',
        2255156,
        '595ec0db20d1ca1c',
    ),
    'crd wrn_28_4': (
        'CifarWideResNet',
        dict(depth=28, widen_factor=4),
        'fc',
        5872180,
        'f5d8ffff5eb323ce',
    ),
    'crd wrn_28_10': (
        'CifarWideResNet',
        dict(depth=28, widen_factor=10),
        'fc',
        36536884,
        '2f9ae684937324df',
    ),
    'crd wrn_40_4': (
        'CifarWideResNet',
        dict(depth=40, widen_factor=4),
        'fc',
        8972340,
        'de648441a677cf2a',
    ),
    'crd wrn_16_8': (
        'CifarWideResNet',
        dict(depth=16, widen_factor=8),
        'fc',
        11007540,
        '5a74176b1f9f4d46',
    ),
    'torchdistill wrn_16_2': (
        'CifarWideResNetRaw',
        dict(depth=16, widen_factor=2),
        'fc',
        703284,
        '5df3f739777ee6aa',
    ),
    'torchdistill wrn_40_4': (
        'CifarWideResNetRaw',
        dict(depth=40, widen_factor=4),
        'fc',
        8972340,
        '9f2aa9b70aeb831c',
    ),
    'torchdistill wrn_28_10': (
        'CifarWideResNetRaw',
        dict(depth=28, widen_factor=10),
        'fc',
        36536884,
        'ca225c56912322bc',
    ),
    'torchdistill wrn_16_8': (
        'CifarWideResNetRaw',
        dict(depth=16, widen_factor=8),
        'fc',
        11007540,
        '20c0285382a3e0ea',
    ),
    'crd vgg8': ('CifarVGG', dict(depth=8), 'classifier', 3965028, '7f85b8479109415f'),
    'crd vgg11': ('CifarVGG', dict(depth=11), 'classifier', 9277284, '6053995f63325762'),
    'crd vgg13': ('CifarVGG', dict(depth=13), 'classifier', 9462180, '5778ceb5832ef6a7'),
    'crd vgg16': ('CifarVGG', dict(depth=16), 'classifier', 14774436, '0729229b18559f53'),
    'crd vgg19': ('CifarVGG', dict(depth=19), 'classifier', 20086692, 'e27ccb5da4f3ad9e'),
    'crd MobileNetV2': ('CifarMobileNetV2', dict(), 'classifier.0', 812836, '54501c9a7e317631'),
    'crd MobileNetV2 1.0': (
        'CifarMobileNetV2',
        dict(widen_factor=1.0),
        'classifier.0',
        2353060,
        'cb860b6d7d42bd3d',
    ),
    'crd MobileNetV2 1.4': (
        'CifarMobileNetV2',
        dict(widen_factor=1.4, expansion=4),
        'classifier.0',
        3312152,
        '548503853af0a1a1',
    ),
    'crd ShuffleV1': ('CifarShuffleNetV1', dict(), 'linear', 949258, '1282e767b3e9c6cd'),
    'crd ShuffleV1 g2': ('CifarShuffleNetV1', dict(groups=2), 'linear', 959672, '1e6ece0d4d274dfc'),
    'crd ShuffleV2': ('CifarShuffleNetV2', dict(), 'linear', 1355528, '9b7750ae03289b13'),
    'crd ShuffleV2 0.2': (
        'CifarShuffleNetV2',
        dict(widen_factor=0.2),
        'linear',
        220388,
        '945c0f6014d78e6a',
    ),
    'crd ShuffleV2 0.3': (
        'CifarShuffleNetV2',
        dict(widen_factor=0.3),
        'linear',
        235588,
        '1d631997a8d355d4',
    ),
    'crd ShuffleV2 0.5': (
        'CifarShuffleNetV2',
        dict(widen_factor=0.5),
        'linear',
        443716,
        'c0635587c33e3c2f',
    ),
    'crd ShuffleV2 1.5': (
        'CifarShuffleNetV2',
        dict(widen_factor=1.5),
        'linear',
        2580548,
        '23d6d5f4cabbff9c',
    ),
    'crd ShuffleV2 2': (
        'CifarShuffleNetV2',
        dict(widen_factor=2),
        'linear',
        5521860,
        'd8cd900b89901570',
    ),
    'crd ResNet50': (
        'mmpretrain.ResNet_CIFAR',
        dict(depth=50),
        'linear',
        23705252,
        'd5367c1bcc2c22ea',
    ),
    'pcm vgg11_bn': ('CifarVGGFeatures', dict(depth=11), None, 9802596, 'edcf4ba191115235'),
    'pcm vgg13_bn': ('CifarVGGFeatures', dict(depth=13), None, 9987492, 'f4fa122c47429cdb'),
    'pcm vgg16_bn': ('CifarVGGFeatures', dict(depth=16), None, 15299748, '78a4789d1c27a1be'),
    'pcm vgg19_bn': ('CifarVGGFeatures', dict(depth=19), None, 20612004, 'afcb7ab2e85c50e3'),
    'pcm mobilenetv2_x0_5': (
        'CifarMobileNetV2Features',
        dict(widen_factor=0.5),
        'classifier.1',
        815780,
        'd250405970b5241e',
    ),
    'pcm mobilenetv2_x0_75': (
        'CifarMobileNetV2Features',
        dict(widen_factor=0.75),
        'classifier.1',
        1483524,
        'f180105abd4ed29b',
    ),
    'pcm mobilenetv2_x1_0': (
        'CifarMobileNetV2Features',
        dict(),
        'classifier.1',
        2351972,
        '2bfca962ecba5335',
    ),
    'pcm mobilenetv2_x1_4': (
        'CifarMobileNetV2Features',
        dict(widen_factor=1.4),
        'classifier.1',
        4495076,
        '5f6beb05648c29c3',
    ),
    'pcm shufflenetv2_x0_5': (
        'CifarShuffleNetV2Stages',
        dict(widen_factor=0.5),
        'fc',
        444292,
        'b128d22a99902dee',
    ),
    'pcm shufflenetv2_x1_0': ('CifarShuffleNetV2Stages', dict(), 'fc', 1356104, '74133fed8cc8a760'),
    'pcm shufflenetv2_x1_5': (
        'CifarShuffleNetV2Stages',
        dict(widen_factor=1.5),
        'fc',
        2581124,
        '6f884861bbe474c4',
    ),
    'pcm shufflenetv2_x2_0': (
        'CifarShuffleNetV2Stages',
        dict(widen_factor=2),
        'fc',
        5549896,
        '914bad4c6dec80cc',
    ),
    'pcm repvgg_a0': ('CifarRepVGG', dict(arch='A0'), 'linear', 7956164, '69b16aa155227c82'),
    'pcm repvgg_a1': ('CifarRepVGG', dict(arch='A1'), 'linear', 12939492, 'abe6aa869536d643'),
    'pcm repvgg_a2': ('CifarRepVGG', dict(arch='A2'), 'linear', 26942500, '36fb60f60d8c76f1'),
}
# network: two logits of the first image and the deviation of each feature map, from the public code
# in float64 with the values of ``planted``; a dict where the public code shows only some of the
# stages
VALUES = {
    'crd resnet8x4': ([3.985820201, 4.604554835], {0: 1.037487509, 1: 1.517615084, 2: 2.422305523}),
    'crd wrn_16_2': ([-7.509080345, 1.996498095], {0: 1.509585558, 1: 2.880535446}),
    'torchdistill wrn_16_2': (
        [-2.812444153, 17.01859914],
        {0: 1.87928657, 1: 6.500584107, 2: 11.9489329},
    ),
    'crd vgg8': (
        [-0.3538216949, 0.08619657916],
        {0: 0.5620731266, 1: 0.8566444482, 2: 1.251601214, 3: 1.672040721, 4: 1.584385899},
    ),
    'crd MobileNetV2': (
        [11145.94269, 17812.08517],
        {1: 3.317746344, 2: 18.74599621, 4: 1943.085946, 6: 8413.613608},
    ),
    'crd ShuffleV1': (
        [-71.52618593, -440.9048474],
        {0: 2.26308734, 1: 65.87265115, 2: 232.7845557},
    ),
    'crd ShuffleV2': (
        [-407.9991387, 0.4890676639],
        {0: 1.790923818, 1: 38.75024762, 2: 148.2571404},
    ),
    'pcm vgg11_bn': (
        [1.658443175, -6.145724927],
        {0: 0.699226523, 1: 1.264816167, 2: 1.88128074, 3: 2.1781611, 4: 1.668988973},
    ),
    'pcm mobilenetv2_x0_5': (
        [-0.6432812335, 2.377683113],
        {
            0: 1.137617639,
            1: 1.84423543,
            2: 3.858635404,
            3: 6.020994376,
            4: 5.830236171,
            5: 5.081686102,
            6: 3.27882464,
            7: 2.153649319,
        },
    ),
    'pcm shufflenetv2_x0_5': (
        [-230.279395, -84.37102411],
        {0: 3.473376116, 1: 84.78991758, 2: 251.7113683, 3: 278.4720565},
    ),
    'pcm repvgg_a0': (
        [654198.1823, 344099.809],
        {0: 3.035188646, 1: 37.11639822, 2: 833494.9485, 3: 1350605.667},
    ),
}
# type: (arguments, channels, sides) of every stage for 32x32 images
SHAPES = {
    'CifarResNet': (dict(depth=8, width_factor=4), (64, 128, 256), (32, 16, 8)),
    'CifarWideResNet': (dict(depth=10, widen_factor=3), (48, 96, 192), (32, 16, 8)),
    'CifarWideResNetRaw': (dict(depth=10), (16, 32, 64), (32, 16, 8)),
    'CifarVGG': (dict(depth=8), (64, 128, 256, 512, 512), (32, 16, 8, 4, 4)),
    'CifarVGGFeatures': (dict(depth=11), (64, 128, 256, 512, 512), (16, 8, 4, 2, 1)),
    'CifarMobileNetV2': (dict(), (8, 12, 16, 32, 48, 80, 160, 1280), (16, 16, 8, 4, 4, 2, 2, 2)),
    'CifarMobileNetV2Features': (
        dict(widen_factor=1.4),
        (24, 32, 48, 88, 136, 224, 448, 1792),
        (32, 32, 16, 8, 8, 4, 4, 4),
    ),
    'CifarShuffleNetV1': (dict(), (240, 480, 960), (16, 8, 4)),
    'CifarShuffleNetV2': (dict(widen_factor=2), (224, 488, 976, 2048), (16, 8, 4, 4)),
    'CifarShuffleNetV2Stages': (dict(widen_factor=2), (244, 488, 976, 2048), (16, 8, 4, 4)),
    'CifarRepVGG': (dict(arch='A1'), (64, 128, 256, 1280), (32, 16, 8, 4)),
}


def typed(name, arguments):
    return {'type': name if '.' in name else f'mmdynakd.{name}', **arguments}


def classifier(name, arguments, plain_head=True, num_classes=100):
    with torch.device('meta'):
        width = (
            MODELS.build(typed(name, arguments)).out_channels
            if 'ResNet_CIFAR' not in name
            else 2048
        )
    head = 'LinearClsHead' if plain_head else 'mmdynakd.MLPClsHead'
    return MMPRETRAIN_MODELS.build(
        {
            'type': 'ImageClassifier',
            'backbone': typed(name, arguments),
            'neck': {'type': 'GlobalAveragePooling'},
            'head': {'type': head, 'num_classes': num_classes, 'in_channels': width},
        }
    )


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
    """Values for every weight, in the order of sorted public names, by numpy's fixed stream."""
    stream, state = np.random.RandomState(0), {}
    for key in sorted(shapes):
        shape = tuple(shapes[key])
        draw = torch.from_numpy(stream.uniform(-1, 1, shape)) if shape else torch.tensor(0)
        if len(shape) > 1:
            state[key] = draw * (6 / draw[0].numel()) ** 0.5
        else:
            state[key] = 1 + draw / 2 if key.endswith(('running_var', '.weight')) else draw / 4
    return state
