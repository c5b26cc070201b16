# mmdynakd train configs/teachers/resnet20_digits.py
_base_ = ['../_base_/datasets/digits.py', '../_base_/schedules/digits_10e.py',
          '../_base_/runtime.py']
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmdynakd.CifarResNet', depth=20),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64, topk=(1, )))
