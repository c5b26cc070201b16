# Public CIFAR-100 teachers of the RepDistiller lineage: {{_base_.repdistiller.resnet32x4}} and so
# on. They come in one archive, cifar_teachers.tar of
# https://github.com/megvii-research/mdistiller/releases/tag/checkpoints, unpacked in
# download_ckpts/. Accuracies (top-1 on test) are those of RepDistiller's README, the normalisation
# is that of its code; colour order RGB.
def _entry(folder, accuracy, backbone, in_channels, config=None):
    entry = dict(
        model=dict(
            type='ImageClassifier',
            backbone=backbone,
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=100, in_channels=in_channels),
            data_preprocessor=dict(type='ClsDataPreprocessor', mean=[129.311, 124.109, 112.404],
                                   std=[68.213, 65.408, 70.406], to_rgb=False)),
        checkpoint=f'download_ckpts/cifar_teachers/{folder}_vanilla/ckpt_epoch_240.pth',
        accuracy=accuracy,
        source='cifar_teachers.tar of https://github.com/megvii-research/mdistiller/releases/tag/checkpoints')
    if config:
        entry['config'] = f'configs/teachers/{config}_cifar100.py'
    return entry


repdistiller = dict(
    resnet56=_entry('resnet56', 72.34, dict(type='mmdynakd.CifarResNet', depth=56), 64, 'resnet56'),
    resnet110=_entry('resnet110', 74.31, dict(type='mmdynakd.CifarResNet', depth=110), 64,
                     'resnet110'),
    resnet32x4=_entry('resnet32x4', 79.42,
                      dict(type='mmdynakd.CifarResNet', depth=32, width_factor=4), 256,
                      'resnet32x4'),
    wrn_40_2=_entry('wrn_40_2', 75.61,
                    dict(type='mmdynakd.CifarWideResNet', depth=40, widen_factor=2), 128),
    vgg13=_entry('vgg13', 74.64, dict(type='mmdynakd.CifarVGG', depth=13), 512),
    resnet50=_entry('ResNet50', 79.34,
                    dict(type='ResNet_CIFAR', depth=50, num_stages=4, out_indices=(3, )), 2048,
                    'resnet50'))
