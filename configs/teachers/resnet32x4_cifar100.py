# mmdynakd train configs/teachers/resnet32x4_cifar100.py
_base_ = ['../_base_/datasets/cifar100.py', '../_base_/schedules/cifar100_240e.py',
          '../_base_/runtime.py']
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmdynakd.CifarResNet', depth=32, width_factor=4),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=100, in_channels=256, topk=(1, 5)))
