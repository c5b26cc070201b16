"""CIFAR-100 splits on made and real files, and the errors of missing, damaged and hostile files."""

import hashlib
import io
import os
import pickle
import tarfile

import numpy as np
import pytest
from mmengine import dist
from web import Web

from mmdynakd.datasets import CIFAR100, DatasetFileError, cifar
from mmdynakd.datasets.cifar import hold_out_last
from mmdynakd.registry import DATASETS

CLASSES, PER_CLASS = 3, 53


class Canary:
    """Makes a folder when it is unpickled freely."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def write(folder, name, entry, protocol=2):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(pickle.dumps(entry, protocol=protocol))


def entry_of(count, seed):
    rng = np.random.RandomState(seed)
    labels = rng.permutation(np.repeat(np.arange(CLASSES), count))
    return {
        'data': rng.randint(0, 256, (len(labels), 3072)).astype(np.uint8),
        'fine_labels': labels.tolist(),
    }


@pytest.fixture
def made(tmp_path):
    """A data root with 3 classes of 53 training and 4 test images, and what was written."""
    entries = {'train': entry_of(PER_CLASS, 0), 'test': entry_of(4, 1)}
    for name, entry in entries.items():
        write(tmp_path / 'cifar-100-python', name, entry)
    return tmp_path, entries


def load(root, split, **kwargs):
    return CIFAR100(str(root), split=split, **{'verify': False, 'download': False, **kwargs})


def rows(data):
    infos = (data.get_data_info(i) for i in range(len(data)))
    return [(info['img'].tobytes(), info['gt_label']) for info in infos]


def check_splits(root, per_class, classes):
    """train and val are disjoint, together trainval, and val is the last 50 of each class."""
    train, val, both = (rows(load(root, split)) for split in ('train', 'val', 'trainval'))
    assert (len(train), len(val)) == ((per_class - 50) * classes, 50 * classes)
    assert sorted(train + val) == sorted(both)
    seen, expected = {}, {'train': [], 'val': []}
    for row in both:
        seen[row[1]] = seen.get(row[1], 0) + 1
        expected['train' if seen[row[1]] <= per_class - 50 else 'val'].append(row)
    assert expected == {'train': train, 'val': val}  # also in file order
    return train, val


def test_made_splits(made):
    root, entries = made
    train, val = check_splits(root, PER_CLASS, CLASSES)
    assert not set(train) & set(val)
    test = rows(load(root, 'test'))
    images = entries['test']['data'].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    labels = entries['test']['fine_labels']
    assert test == [(image.tobytes(), label) for image, label in zip(images, labels, strict=True)]


@pytest.mark.slow
def test_real_splits(cifar100_root):
    check_splits(cifar100_root, 500, 100)
    val = load(cifar100_root, 'val')
    assert val[0]['img'].shape == (32, 32, 3)
    assert val[0]['img'].dtype == np.uint8
    assert np.bincount(val.get_gt_labels()).tolist() == [50] * 100
    assert len(load(cifar100_root, 'test')) == 10000


@pytest.mark.parametrize('protocol', range(6))
def test_every_pickle_protocol_is_read(made, protocol):
    root, entries = made
    write(root / 'cifar-100-python', 'test', entries['test'], protocol)
    images = entries['test']['data'].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert [image for image, _ in rows(load(root, 'test'))] == [image.tobytes() for image in images]


def test_hold_out_last():
    stay, held = hold_out_last([0, 1, 0, 1, 1, 0, 1], per_class=2)
    assert (stay.tolist(), held.tolist()) == ([0, 1, 3], [2, 4, 5, 6])
    with pytest.raises(ValueError, match='class 0 has 2 images'):
        hold_out_last([0, 1, 0, 1, 1], per_class=2)


def test_pipeline_and_base_arguments(made):
    pipeline = [{'type': 'RandomCrop', 'crop_size': 32, 'padding': 4}, {'type': 'PackInputs'}]
    data = DATASETS.build(
        {
            'type': 'mmdynakd.CIFAR100',
            'data_root': str(made[0]),
            'split': 'val',
            'verify': False,
            'download': False,
            'pipeline': pipeline,
            'indices': 5,
        }
    )
    assert len(data) == 5
    assert data[4]['inputs'].shape == (3, 32, 32)
    assert data.split == 'val'
    assert len(data.CLASSES) == 100
    lazy = load(made[0], 'val', lazy_init=True)
    lazy.full_init()
    assert rows(lazy) == rows(load(made[0], 'val', serialize_data=False))


def test_training_splits_need_no_test_file(made):
    (made[0] / 'cifar-100-python' / 'test').unlink()
    assert len(load(made[0], 'val')) == 150
    with pytest.raises(DatasetFileError, match='test is missing'):
        load(made[0], 'test')


def test_md5_is_checked_unless_told_otherwise(made, monkeypatch):
    root = made[0]
    with pytest.raises(DatasetFileError, match=r'another md5 sum.*verify=False'):
        load(root, 'train', verify=True)
    digest = hashlib.md5((root / 'cifar-100-python' / 'train').read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR100, 'train_list', [['train', digest]])
    assert len(load(root, 'train', verify=True)) == CLASSES * 3


def test_wrong_md5_never_downloads_over_the_file(made, monkeypatch):
    monkeypatch.setattr(cifar, 'download', lambda *a, **k: pytest.fail('downloaded'))
    before = (made[0] / 'cifar-100-python' / 'train').read_bytes()
    with pytest.raises(DatasetFileError, match='md5'):
        load(made[0], 'train', verify=True, download=True)
    assert (made[0] / 'cifar-100-python' / 'train').read_bytes() == before


def test_missing_file_names_folder_argument_and_remedy(tmp_path):
    with pytest.raises(DatasetFileError) as caught:
        load(tmp_path / 'nowhere', 'train')
    for part in (
        str(tmp_path / 'nowhere'),
        'data_root',
        'download=True',
        'cifar-100-python.tar.gz',
    ):
        assert part in str(caught.value)


def archive(folder, **members) -> bytes:
    """A .tar.gz with those files, or links, of ``cifar-100-python``."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode='w:gz') as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(f'cifar-100-python/{name}')
            if isinstance(data, bytes):
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
            else:
                entry.type, entry.linkname = tarfile.SYMTYPE, data
                tar.addfile(entry)
        evil = tarfile.TarInfo('../../escaped')
        evil.size = 4
        tar.addfile(evil, io.BytesIO(b'evil'))
    return content.getvalue()


def test_download_fills_a_missing_folder(tmp_path, monkeypatch):
    train = pickle.dumps(entry_of(PER_CLASS, 0))
    content = archive(tmp_path, train=train, test=b'another', meta=b'meta')
    web = Web(monkeypatch, **{CIFAR100.url: content})
    monkeypatch.setattr(cifar, 'SHA256', hashlib.sha256(content).hexdigest())
    root = tmp_path / 'a' / 'b'
    (root / 'cifar-100-python').mkdir(parents=True)
    (root / 'cifar-100-python' / 'test').write_bytes(b'mine')
    assert len(load(root, 'train', download=True)) == CLASSES * 3
    assert len(load(root, 'val', download=True)) == CLASSES * 50
    assert web.asked == [CIFAR100.url]
    assert CIFAR100.url.startswith('https://')
    assert {path.name: path.read_bytes() for path in root.rglob('*') if path.is_file()} == dict(
        train=train, test=b'mine', meta=b'meta'
    )
    assert not list(tmp_path.rglob('escaped'))


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (OSError('no route to host'), 'no route to host'),
        (b'an attack', 'its sha256 is .*, not 85cd44d0'),
        ('http://example.org', 'only https:// is followed'),
        (
            archive(None, train=b'1', test=b'2'),
            'cifar-100-python.tar.gz holds no file cifar-100-python/meta',
        ),
        (
            archive(None, train='/etc/passwd', test=b'2', meta=b'3'),
            'holds no file cifar-100-python/train',
        ),
    ],
)
def test_a_failed_download_says_why_and_leaves_nothing(tmp_path, monkeypatch, content, reason):
    Web(monkeypatch, **{CIFAR100.url: content})
    if isinstance(content, bytes) and content != b'an attack':
        monkeypatch.setattr(cifar, 'SHA256', hashlib.sha256(content).hexdigest())
    with pytest.raises(DatasetFileError, match=f'download failed .*{reason}.*data_root'):
        load(tmp_path / 'empty', 'train', download=True)
    assert not (tmp_path / 'empty' / 'cifar-100-python' / 'train').exists()
    assert not list((tmp_path / 'empty').glob('.download-*'))


def test_a_failed_download_still_meets_the_other_processes(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError('no route to host')

    met = []
    monkeypatch.setattr(dist, 'barrier', lambda: met.append('main'))
    monkeypatch.setattr(cifar, 'download', fail)
    with pytest.raises(DatasetFileError):
        load(tmp_path, 'train', download=True)
    assert met == ['main']


@pytest.mark.parametrize('keep', [0, 1, 40, 0.5, 0.999])
def test_cut_file_is_an_error(made, keep):
    file = made[0] / 'cifar-100-python' / 'train'
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(DatasetFileError, match=r'train is damaged.*data_root'):
        load(made[0], 'train')


@pytest.mark.parametrize(
    'change',
    [
        {'fine_labels': [0] * 10},
        {'data': np.zeros((159, 3071), np.uint8)},
        {'data': np.zeros((159, 3072))},
        {'fine_labels': [100] * 159},
        {'fine_labels': [-1] * 159},
        {'fine_labels': [0.5] * 159},
        {'data': 'x'},
    ],
)
def test_wrong_content_is_an_error(made, change):
    write(made[0] / 'cifar-100-python', 'train', {**made[1]['train'], **change})
    with pytest.raises(DatasetFileError, match='train is damaged'):
        load(made[0], 'trainval')


def test_too_few_images_for_val_is_an_error(made):
    write(made[0] / 'cifar-100-python', 'train', entry_of(50, 2))
    assert len(load(made[0], 'trainval')) == 150
    with pytest.raises(DatasetFileError, match='class 0 has 50 images; 50 held out'):
        load(made[0], 'val')


@pytest.mark.parametrize('protocol', range(6))
def test_hostile_pickle_is_refused_and_not_executed(made, tmp_path, protocol):
    place = tmp_path / 'canary'
    pickle.loads(pickle.dumps(Canary(place), protocol))
    assert place.is_dir()  # the canary works
    place.rmdir()
    write(
        made[0] / 'cifar-100-python',
        'train',
        {**made[1]['train'], 'filenames': Canary(place)},
        protocol,
    )
    with pytest.raises(DatasetFileError, match='mkdir, which no array needs; nothing was executed'):
        load(made[0], 'train')
    assert not place.exists()
