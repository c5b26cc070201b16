# resnet8 of the CIFAR family on the 10 digits.
student = dict(
    type='ImageClassifier',
    backbone=dict(type='mmdynakd.CifarResNet', depth=8),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64,
              loss=dict(type='CrossEntropyLoss'), topk=(1, )))
