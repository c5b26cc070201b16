# mmdynakd train configs/teachers/resnet56_cifar100.py
_base_ = ['../_base_/datasets/cifar100.py', '../_base_/schedules/cifar100_240e.py',
          '../_base_/runtime.py']
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmdynakd.CifarResNet', depth=56),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=100, in_channels=64, topk=(1, 5)))
