# mmdynakd train configs/dynakd_r50_cifar100.py
# MMPretrain's resnet50_8xb16_cifar100 (its own config, weights and normalisation) above two 6n+2
# teachers.
_base_ = 'dynakd_r56_cifar100.py'
url = 'https://download.openmmlab.com/mmclassification/v0/resnet/resnet50_b16x8_cifar100_20210528-67b58a1b.pth'
model = dict(teachers=dict(
    _delete_=True,
    resnet50=dict(
        model=dict(cfg_path='mmpretrain::resnet/resnet50_8xb16_cifar100.py'), checkpoint=url,
        config='configs/teachers/resnet50_cifar100.py'),
    resnet56={{_base_.teachers.resnet56}},
    resnet32={{_base_.teachers.resnet32}}))
