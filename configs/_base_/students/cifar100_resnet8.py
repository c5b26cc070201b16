_base_ = 'cifar100_resnet20.py'
student = dict(backbone=dict(depth=8))
