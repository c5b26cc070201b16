"""Backbones for 32x32 images that MMPretrain lacks.

Necks, heads and whole classifiers do not belong here, nor do backbones that MMPretrain or timm has.
"""

from .cifar_mobilenet_v2 import CifarMobileNetV2, CifarMobileNetV2Features
from .cifar_repvgg import CifarRepVGG
from .cifar_resnet import CifarResNet
from .cifar_shufflenet_v1 import CifarShuffleNetV1
from .cifar_shufflenet_v2 import CifarShuffleNetV2, CifarShuffleNetV2Stages
from .cifar_vgg import CifarVGG, CifarVGGFeatures
from .cifar_wide_resnet import CifarWideResNet, CifarWideResNetRaw

__all__ = [
    'CifarMobileNetV2',
    'CifarMobileNetV2Features',
    'CifarRepVGG',
    'CifarResNet',
    'CifarShuffleNetV1',
    'CifarShuffleNetV2',
    'CifarShuffleNetV2Stages',
    'CifarVGG',
    'CifarVGGFeatures',
    'CifarWideResNet',
    'CifarWideResNetRaw',
]
