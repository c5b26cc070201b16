# Strong to weak; each is trained by its config in configs/teachers/.
def _teacher(depth):
    return dict(
        model=dict(type='ImageClassifier', backbone=dict(type='mmdynakd.CifarResNet', depth=depth),
                   neck=dict(type='GlobalAveragePooling'),
                   head=dict(type='LinearClsHead', num_classes=10, in_channels=64)),
        checkpoint=f'work_dirs/resnet{depth}_digits/epoch_10.pth',
        config=f'configs/teachers/resnet{depth}_digits.py')


teachers = dict(resnet20=_teacher(20), resnet14=_teacher(14), resnet8=_teacher(8))
