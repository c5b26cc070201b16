# Public CIFAR-100 wide ResNets of yoshitomo-matsubara/torchdistill:
# {{_base_.torchdistill.wide_resnet40_4}} and so on. Accuracies (top-1 on test) are those of
# configs/official/cifar100/yoshitomo-matsubara/nlp-oss2023 there, the normalisation is that of its
# configs; colour order RGB. No hash of the files is published, so none is fetched from here: put
# them from https://github.com/yoshitomo-matsubara/torchdistill/releases/tag/v0.1.1 into
# download_ckpts/torchdistill/.
def _entry(depth, widen_factor, accuracy):
    return dict(
        model=dict(
            type='ImageClassifier',
            backbone=dict(type='mmdynakd.CifarWideResNetRaw', depth=depth,
                          widen_factor=widen_factor),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=100, in_channels=64 * widen_factor),
            data_preprocessor=dict(type='ClsDataPreprocessor', mean=[129.304, 124.070, 112.434],
                                   std=[68.170, 65.392, 70.418], to_rgb=False)),
        checkpoint=f'download_ckpts/torchdistill/cifar100-wide_resnet{depth}_{widen_factor}.pt',
        accuracy=accuracy,
        source='https://github.com/yoshitomo-matsubara/torchdistill/releases/tag/v0.1.1')


torchdistill = dict(
    wide_resnet40_4=_entry(40, 4, 79.44), wide_resnet28_10=_entry(28, 10, 81.27),
    wide_resnet16_8=_entry(16, 8, 79.26))
