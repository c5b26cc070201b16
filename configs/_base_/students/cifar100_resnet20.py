# resnet20 of the CIFAR family, 100 classes.
student = dict(
    type='ImageClassifier',
    backbone=dict(type='mmdynakd.CifarResNet', depth=20),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=100, in_channels=64,
              loss=dict(type='CrossEntropyLoss'),
              topk=(1, 5)))
