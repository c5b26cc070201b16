# Public checkpoints (chenyaofo/pytorch-cifar-models), strong to weak; their own normalisation,
# colour order RGB.
release = 'https://github.com/chenyaofo/pytorch-cifar-models/releases/download/resnet/cifar100_'


def _teacher(depth, digest):
    return dict(
        model=dict(
            type='ImageClassifier',
            backbone=dict(type='mmdynakd.CifarResNet', depth=depth),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=100, in_channels=64),
            data_preprocessor=dict(type='ClsDataPreprocessor', mean=[129.285, 124.058, 112.430],
                                   std=[68.162, 65.382, 70.406], to_rgb=False)),
        checkpoint=f'{release}resnet{depth}-{digest}.pt',
        config=f'configs/teachers/resnet{depth}_cifar100.py')


teachers = dict(
    resnet56=_teacher(56, 'f2eff4c8'), resnet44=_teacher(44, 'ffe32858'),
    resnet32=_teacher(32, '84213ce6'))
