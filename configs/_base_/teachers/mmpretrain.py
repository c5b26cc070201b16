# Public CIFAR-100 teacher of MMPretrain, with its own config and normalisation:
# {{_base_.mmpretrain.resnet50}}.
mmpretrain = dict(resnet50=dict(
    model=dict(cfg_path='mmpretrain::resnet/resnet50_8xb16_cifar100.py'),
    checkpoint='https://download.openmmlab.com/mmclassification/v0/resnet/'
               'resnet50_b16x8_cifar100_20210528-67b58a1b.pth',
    accuracy=79.90,
    source='https://github.com/open-mmlab/mmpretrain/tree/main/configs/resnet',
    config='configs/teachers/resnet50_cifar100.py'))
