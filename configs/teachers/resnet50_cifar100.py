# mmdynakd train configs/teachers/resnet50_cifar100.py
_base_ = 'mmpretrain::resnet/resnet50_8xb16_cifar100.py'
