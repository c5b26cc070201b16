"""Every teacher of ``configs/_base_/teachers`` builds, and its public layout loads strictly."""

import copy
import re
from functools import lru_cache

import pytest
import torch
from mmengine.config import Config
from runs import CHECKOUT

import mmdynakd
from mmdynakd.diagnostics.predictions import multiply_adds, parameters
from mmdynakd.downloads import HASH_ENDING
from mmdynakd.models.teachers.checkpoints.layouts import match, recognise

FOLDER = CHECKOUT / 'configs' / '_base_' / 'teachers'
SOURCES = ('chenyaofo', 'repdistiller', 'torchdistill', 'mmpretrain')
CATALOGUE = {source: Config.fromfile(FOLDER / f'{source}.py')[source] for source in SOURCES}
NAMES = [(source, name) for source in SOURCES for name in CATALOGUE[source]]

# Parameters and multiply-adds in millions, as the repositories (MMPretrain: its metafile) and, for
# torchdistill's, the paper on wide ResNets tell them.
PUBLISHED = {
    ('chenyaofo', 'resnet20'): (0.28, 40.82),
    ('chenyaofo', 'resnet32'): (0.47, 69.13),
    ('chenyaofo', 'resnet44'): (0.67, 97.44),
    ('chenyaofo', 'resnet56'): (0.86, 125.75),
    ('chenyaofo', 'vgg11_bn'): (9.80, 153.34),
    ('chenyaofo', 'vgg13_bn'): (9.99, 228.84),
    ('chenyaofo', 'vgg16_bn'): (15.30, 313.77),
    ('chenyaofo', 'vgg19_bn'): (20.61, 398.71),
    ('chenyaofo', 'mobilenetv2_x0_5'): (0.82, 28.08),
    ('chenyaofo', 'mobilenetv2_x0_75'): (1.48, 59.43),
    ('chenyaofo', 'mobilenetv2_x1_0'): (2.35, 88.09),
    ('chenyaofo', 'mobilenetv2_x1_4'): (4.50, 170.23),
    ('chenyaofo', 'shufflenetv2_x0_5'): (0.44, 10.99),
    ('chenyaofo', 'shufflenetv2_x1_0'): (1.36, 45.09),
    ('chenyaofo', 'shufflenetv2_x1_5'): (2.58, 94.35),
    ('chenyaofo', 'shufflenetv2_x2_0'): (5.55, 188.00),
    ('chenyaofo', 'repvgg_a0'): (7.96, 489.19),
    ('chenyaofo', 'repvgg_a1'): (12.94, 851.44),
    ('chenyaofo', 'repvgg_a2'): (26.94, 1850.22),
    ('torchdistill', 'wide_resnet40_4'): (8.9, None),
    ('torchdistill', 'wide_resnet28_10'): (36.5, None),
    ('torchdistill', 'wide_resnet16_8'): (11.0, None),
    ('mmpretrain', 'resnet50'): (23.71, 1310),
}

# Names in the public files: a first one, one that is peculiar, and the classifier's, with their
# shapes.
PUBLIC_NAMES = {
    ('chenyaofo', 'resnet56'): {
        'conv1.weight': (16, 3, 3, 3),
        'layer2.0.downsample.0.weight': (32, 16, 1, 1),
        'layer3.8.bn2.running_var': (64,),
        'fc.weight': (100, 64),
    },
    ('chenyaofo', 'vgg16_bn'): {
        'features.0.weight': (64, 3, 3, 3),
        'features.0.bias': (64,),
        'classifier.3.weight': (512, 512),
        'classifier.6.weight': (100, 512),
    },
    ('chenyaofo', 'mobilenetv2_x1_4'): {
        'features.0.0.weight': (48, 3, 3, 3),
        'features.18.0.weight': (1792, 448, 1, 1),
        'features.1.conv.0.0.weight': (48, 1, 3, 3),
        'classifier.1.bias': (100,),
    },
    ('chenyaofo', 'shufflenetv2_x2_0'): {
        'conv1.0.weight': (24, 3, 3, 3),
        'stage2.0.branch1.0.weight': (24, 1, 3, 3),
        'conv5.0.weight': (2048, 976, 1, 1),
        'fc.weight': (100, 2048),
    },
    ('chenyaofo', 'repvgg_a2'): {
        'stage0.rbr_dense.conv.weight': (64, 3, 3, 3),
        'linear.weight': (100, 1408),
        'stage1.1.rbr_identity.weight': (96,),
        'stage1.0.rbr_1x1.conv.weight': (96, 64, 1, 1),
    },
    ('repdistiller', 'resnet32x4'): {
        'conv1.weight': (32, 3, 3, 3),
        'layer1.0.downsample.0.weight': (64, 32, 1, 1),
        'fc.weight': (100, 256),
    },
    ('repdistiller', 'wrn_40_2'): {
        'conv1.weight': (16, 3, 3, 3),
        'fc.weight': (100, 128),
        'block1.layer.0.convShortcut.weight': (32, 16, 1, 1),
    },
    ('repdistiller', 'vgg13'): {
        'block0.0.weight': (64, 3, 3, 3),
        'block4.4.running_mean': (512,),
        'classifier.weight': (100, 512),
    },
    ('repdistiller', 'resnet50'): {
        'conv1.weight': (64, 3, 3, 3),
        'layer1.0.shortcut.0.weight': (256, 64, 1, 1),
        'layer4.2.bn3.bias': (2048,),
        'linear.weight': (100, 2048),
    },
    ('torchdistill', 'wide_resnet28_10'): {
        'layer1.0.shortcut.0.weight': (160, 16, 1, 1),
        'bn1.weight': (640,),
        'layer3.3.conv2.weight': (640, 640, 3, 3),
        'fc.weight': (100, 640),
    },
}

# The mean and standard deviation of each source, on 0..1 as it has them.
NORMALISATION = {
    'chenyaofo': ((0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761)),
    'repdistiller': ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    'torchdistill': ((0.5070754, 0.48655024, 0.44091907), (0.26733398, 0.25643876, 0.2761503)),
}


@lru_cache(maxsize=1)  # together they are a gigabyte
def model_of(source, name):
    return mmdynakd.load_teacher(copy.deepcopy(CATALOGUE[source][name].model.to_dict()))


def public_state(source, name):
    """The model's own weights under the names of its public file."""
    state = model_of(source, name).state_dict()
    if source == 'mmpretrain':
        return dict(meta={}, state_dict=state)
    classifier = (
        {'vgg13': 'classifier', 'resnet50': 'linear'}.get(name, 'fc')
        if source == 'repdistiller'
        else {'mobilenetv2': 'classifier.1', 'repvgg': 'linear'}.get(name.split('_')[0], 'fc')
    )
    public = {}
    for key, value in state.items():
        key = (
            key.replace('head.fc.', f'{classifier}.')
            .removeprefix('head.')
            .removeprefix('backbone.')
        )
        public[key.replace('downsample', 'shortcut') if name == 'resnet50' else key] = value
    return (
        dict(model=public, epoch=240, accuracy=torch.tensor(70.0))
        if source == 'repdistiller'
        else public
    )


def test_every_source_is_there():
    assert [len(CATALOGUE[source]) for source in SOURCES] == [19, 6, 3, 1]


@pytest.mark.parametrize(('source', 'name'), NAMES)
def test_an_entry_is_whole(source, name):
    entry = CATALOGUE[source][name]
    assert set(entry) - {'config'} == {'model', 'checkpoint', 'accuracy', 'source'}
    assert 67 < entry.accuracy < 82
    assert 'https://' in entry.source
    assert 'config' not in entry or (CHECKOUT / entry.config).is_file()
    assert entry.checkpoint.startswith(
        'https://' if source in ('chenyaofo', 'mmpretrain') else 'download_ckpts/'
    )
    assert bool(HASH_ENDING.search(entry.checkpoint)) == (source in ('chenyaofo', 'mmpretrain'))
    if source == 'chenyaofo':
        assert f'cifar100_{name}-' in entry.checkpoint
    if source in NORMALISATION:
        own = entry.model.data_preprocessor
        for given, expected in zip((own.mean, own.std), NORMALISATION[source]):
            assert given == pytest.approx([255 * value for value in expected], abs=1e-3)
        assert own.to_rgb is False


@pytest.mark.parametrize(('source', 'name'), NAMES)
def test_a_file_in_the_public_layout_fits_a_model_of_the_published_size(source, name):
    model, payload = model_of(source, name), public_state(source, name)
    own = model.state_dict()
    layout, weights = recognise(payload, own)
    assert layout == {'repdistiller': 'model/plain', 'mmpretrain': 'state_dict/mmpretrain'}.get(
        source, 'bare/plain'
    )
    assert set(weights) == set(own)
    assert all(
        value is own[key] or torch.equal(value, own[key])
        for key, value in match(weights, own).items()
    )
    public = payload.get('model', payload)
    for key, shape in PUBLIC_NAMES.get((source, name), {}).items():
        assert tuple(public[key].shape) == shape
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 100)
    check_size(model, source, *PUBLISHED.get((source, name), (None, None)))


def check_size(model, source, size, products):
    if size is not None:
        tolerance = 0.08 if source == 'torchdistill' else 0.0051  # the paper counts for 10 classes
        assert parameters(model) / 1e6 == pytest.approx(size, abs=tolerance)
    if products is not None:
        counted = multiply_adds(model, torch.zeros(1, 3, 32, 32)) / 1e6
        assert counted == pytest.approx(
            products, abs=0.0051, rel=0.01 if source == 'mmpretrain' else 0
        )


@pytest.mark.parametrize(
    ('source', 'name'),
    [
        ('chenyaofo', 'shufflenetv2_x0_5'),
        ('chenyaofo', 'mobilenetv2_x0_5'),
        ('repdistiller', 'resnet56'),
    ],
)
def test_an_entry_loads_a_file(tmp_path, source, name):
    entry, model = copy.deepcopy(CATALOGUE[source][name].to_dict()), model_of(source, name)
    torch.save(public_state(source, name), tmp_path / 'public.pt')
    loaded = mmdynakd.load_teacher(entry, tmp_path / 'public.pt')
    assert all(
        torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items()
    )


def test_a_config_picks_from_all_of_them(tmp_path):
    bases = [str(FOLDER / f'{source}.py') for source in SOURCES]
    picked = ', '.join(f'{source}_{name}={{{{_base_.{source}.{name}}}}}' for source, name in NAMES)
    (tmp_path / 'config.py').write_text(
        f'_base_ = {bases}\nteachers = dict({picked})\n', encoding='utf-8'
    )
    teachers = Config.fromfile(tmp_path / 'config.py').teachers
    assert {re.sub('^[a-z]+_', '', key): entry.checkpoint for key, entry in teachers.items()} == {
        name: CATALOGUE[source][name].checkpoint for source, name in NAMES
    }


def test_the_docs_list_each_with_its_accuracy():
    text = (CHECKOUT / 'docs' / 'teachers.md').read_text(encoding='utf-8')
    rows = re.findall(r'^\| `(\w+)` \| `(\w+)` \| ([\d.]+) \|$', text, re.M)
    assert sorted(rows) == sorted(
        (source, name, f'{CATALOGUE[source][name].accuracy:.2f}') for source, name in NAMES
    )


@pytest.mark.parametrize(
    ('backbone', 'in_channels', 'classifier'),
    [
        (dict(type='mmdynakd.CifarMobileNetV2', widen_factor=0.5), 1280, 'classifier.0'),
        (dict(type='mmdynakd.CifarShuffleNetV1'), 960, 'linear'),
        (dict(type='mmdynakd.CifarShuffleNetV2', widen_factor=1), 1024, 'linear'),
        (dict(type='mmdynakd.CifarVGG', depth=8), 512, 'classifier'),
        (dict(type='mmdynakd.CifarWideResNet', depth=16, widen_factor=2), 128, 'fc'),
        (dict(type='mmdynakd.CifarResNet', depth=8, width_factor=4), 256, 'fc'),
    ],
)
def test_other_networks_of_the_repdistiller_lineage(tmp_path, backbone, in_channels, classifier):
    """As trained by its users: ``{'model': …}``, with ``module.`` where several GPUs were used."""
    config = dict(
        type='ImageClassifier',
        backbone=backbone,
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=100, in_channels=in_channels),
    )
    source = mmdynakd.load_teacher(config).state_dict()
    public = {
        'module.' + key.replace('head.fc.', f'{classifier}.').removeprefix('backbone.'): value
        for key, value in source.items()
    }
    torch.save(
        dict(epoch=240, model=public, best_acc=torch.tensor(70.0)), tmp_path / 'student_best'
    )
    loaded = mmdynakd.load_teacher(config, tmp_path / 'student_best').state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in source.items())
