# Trained here by their configs in configs/teachers/, strong to weak.
def _teacher(name, depth, width_factor=1):
    return dict(
        model=dict(
            type='ImageClassifier',
            backbone=dict(type='mmdynakd.CifarResNet', depth=depth, width_factor=width_factor),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=100, in_channels=64 * width_factor)),
        checkpoint=f'work_dirs/{name}_cifar100/epoch_240.pth',
        config=f'configs/teachers/{name}_cifar100.py')


teachers = dict(
    resnet8x4=_teacher('resnet8x4', 8, 4), resnet32=_teacher('resnet32', 32),
    resnet14=_teacher('resnet14', 14))
