# Public CIFAR-100 teachers of chenyaofo/pytorch-cifar-models: {{_base_.chenyaofo.resnet56}} and so
# on. Hashes, accuracies (top-1 on test) and normalisation are those of its README and code; colour
# order RGB.
def _entry(family, name, digest, accuracy, backbone, head, config=None):
    entry = dict(
        model=dict(
            type='ImageClassifier',
            backbone=backbone,
            neck=dict(type='GlobalAveragePooling'),
            head={'type': 'LinearClsHead', 'num_classes': 100, **head},
            data_preprocessor=dict(type='ClsDataPreprocessor', mean=[129.285, 124.058, 112.430],
                                   std=[68.162, 65.382, 70.406], to_rgb=False)),
        checkpoint='https://github.com/chenyaofo/pytorch-cifar-models/releases/download/'
                   f'{family}/cifar100_{name}-{digest}.pt',
        accuracy=accuracy,
        source='https://github.com/chenyaofo/pytorch-cifar-models')
    if config:
        entry['config'] = config
    return entry


def _resnet(depth, digest, accuracy):
    return _entry('resnet', f'resnet{depth}', digest, accuracy,
                  dict(type='mmdynakd.CifarResNet', depth=depth),
                  dict(in_channels=64), config=f'configs/teachers/resnet{depth}_cifar100.py')


def _vgg(depth, digest, accuracy):
    return _entry('vgg', f'vgg{depth}_bn', digest, accuracy,
                  dict(type='mmdynakd.CifarVGGFeatures', depth=depth),
                  dict(type='mmdynakd.MLPClsHead', in_channels=512))


def _mobilenet(width, digest, accuracy):
    name = f'mobilenetv2_x{width}'.replace('.', '_')
    return _entry('mobilenetv2', name, digest, accuracy,
                  dict(type='mmdynakd.CifarMobileNetV2Features', widen_factor=width),
                  dict(in_channels=1792 if width > 1 else 1280))


def _shufflenet(width, digest, accuracy):
    name = f'shufflenetv2_x{width}'.replace('.', '_')
    return _entry('shufflenetv2', name, digest, accuracy,
                  dict(type='mmdynakd.CifarShuffleNetV2Stages', widen_factor=width),
                  dict(in_channels=2048 if width == 2.0 else 1024))


def _repvgg(arch, digest, accuracy):
    return _entry('repvgg', f'repvgg_{arch.lower()}', digest, accuracy,
                  dict(type='mmdynakd.CifarRepVGG', arch=arch),
                  dict(in_channels=1408 if arch == 'A2' else 1280))


chenyaofo = dict(
    resnet20=_resnet(20, '23dac2f1', 68.83),
    resnet32=_resnet(32, '84213ce6', 70.16),
    resnet44=_resnet(44, 'ffe32858', 71.63),
    resnet56=_resnet(56, 'f2eff4c8', 72.63),
    vgg11_bn=_vgg(11, '57d0759e', 70.78),
    vgg13_bn=_vgg(13, '5ebe5778', 74.63),
    vgg16_bn=_vgg(16, '7d8c4031', 74.00),
    vgg19_bn=_vgg(19, 'b98f7bd7', 73.87),
    mobilenetv2_x0_5=_mobilenet(0.5, '9f915757', 70.88),
    mobilenetv2_x0_75=_mobilenet(0.75, 'd7891e60', 73.61),
    mobilenetv2_x1_0=_mobilenet(1.0, '1311f9ff', 74.20),
    mobilenetv2_x1_4=_mobilenet(1.4, '8a269f5e', 75.98),
    shufflenetv2_x0_5=_shufflenet(0.5, '1977720f', 67.82),
    shufflenetv2_x1_0=_shufflenet(1.0, '9ae22beb', 72.39),
    shufflenetv2_x1_5=_shufflenet(1.5, 'e2c85ad8', 73.91),
    shufflenetv2_x2_0=_shufflenet(2.0, 'e7e584cd', 75.35),
    repvgg_a0=_repvgg('A0', '2df1edd0', 75.22),
    repvgg_a1=_repvgg('A1', 'c06b21a7', 76.12),
    repvgg_a2=_repvgg('A2', '8e71b1f8', 77.18))
