"""Loading teachers: every layout, every error, and no code run from a file."""

import copy
import hashlib
import io
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from toys import teacher_cfg
from web import Web

from mmdynakd import downloads
from mmdynakd.models.teachers import TeacherEnsemble
from mmdynakd.models.teachers.checkpoints.loading import CheckpointError, load_checkpoint_into

TORCH = tuple(map(int, torch.__version__.split('.')[:2]))
teachable = pytest.mark.skipif(TORCH < (2, 4), reason='torch < 2.4 has no add_safe_globals')
COMMAND = 'mmdynakd train configs/teacher.py'


class Canary:
    """Makes a folder when it is unpickled freely."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def build(depth=8, seed=0, backbone='mmdynakd.CifarResNet', channels=64, **options):
    torch.manual_seed(seed)
    model = MMPRETRAIN_MODELS.build(
        {
            'type': 'ImageClassifier',
            'backbone': {'type': backbone, 'depth': depth, **options},
            'neck': {'type': 'GlobalAveragePooling'},
            'head': {'type': 'LinearClsHead', 'num_classes': 10, 'in_channels': channels},
        }
    )
    for module in model.modules():  # statistics that differ from the ones a fresh model has
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.num_batches_tracked.fill_(5 + seed)
    return model


def plain(state):
    return OrderedDict((key.split('.', 1)[1], value) for key, value in state.items())


def same(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[key], second[key]) for key in first
    )


def prefixed(state):
    return {f'module.{key}': value for key, value in state.items()}


LAYOUTS = {
    'mmpretrain': ('state_dict/mmpretrain', lambda s: {'meta': {'epoch': 1}, 'state_dict': s}),
    'mmpretrain parallel': ('state_dict/mmpretrain', lambda s: {'state_dict': prefixed(s)}),
    'with preprocessor': (
        'state_dict/mmpretrain',
        lambda s: {'state_dict': {**s, 'data_preprocessor.mean': torch.zeros(3, 1, 1)}},
    ),
    'bare mmpretrain': ('bare/mmpretrain', lambda s: s),
    'lineage': ('model/plain', lambda s: {'model': plain(s), 'epoch': 240, 'best_acc': 72.3}),
    'lineage parallel': ('model/plain', lambda s: {'model': prefixed(plain(s))}),
    'bare plain': ('bare/plain', plain),
    'plain in state_dict': ('state_dict/plain', lambda s: {'state_dict': plain(s)}),
    'mmpretrain in model': ('model/mmpretrain', lambda s: {'model': s}),
}


@pytest.mark.parametrize('case', LAYOUTS)
def test_every_layout_comes_back_bit_for_bit(tmp_path, case):
    layout, pack = LAYOUTS[case]
    source, target = build(seed=1), build(seed=2)
    torch.save(pack(source.state_dict()), tmp_path / 'teacher.pth')
    assert not same(source.state_dict(), target.state_dict())
    found = load_checkpoint_into(
        target, str(tmp_path / 'teacher.pth'), name='t', train_command=COMMAND
    )
    assert found == layout
    assert same(source.state_dict(), target.state_dict())


def test_mmpretrain_network_and_the_old_file_format(tmp_path):
    options = {'backbone': 'ResNet_CIFAR', 'depth': 18, 'channels': 512}
    source, target = build(seed=1, **options), build(seed=2, **options)
    weights = {'state_dict': source.state_dict()}
    torch.save(weights, tmp_path / 'r18.pth', _use_new_zipfile_serialization=False)
    load_checkpoint_into(target, str(tmp_path / 'r18.pth'), name='r18', train_command=None)
    assert same(source.state_dict(), target.state_dict())


@teachable
def test_checkpoint_of_a_runner_with_its_message_hub(tmp_path):
    source, target = build(seed=1), build(seed=2)
    hub = {
        'log_scalars': {'train/loss': HistoryBuffer([1.0, 2.0], [1, 1])},
        'runtime_info': {'seed': 3},
    }
    torch.save({'state_dict': source.state_dict(), 'message_hub': hub}, tmp_path / 'epoch_1.pth')
    load_checkpoint_into(target, str(tmp_path / 'epoch_1.pth'), name='t', train_command=None)
    assert same(source.state_dict(), target.state_dict())


def test_missing_num_batches_tracked_keeps_the_models(tmp_path):
    source, target = build(seed=1), build(seed=2)
    torch.save(
        {k: v for k, v in source.state_dict().items() if 'num_batches' not in k},
        tmp_path / 'old.pth',
    )
    load_checkpoint_into(target, str(tmp_path / 'old.pth'), name='old', train_command=None)
    for key, value in target.state_dict().items():
        expected = (
            torch.tensor(7) if key.endswith('num_batches_tracked') else source.state_dict()[key]
        )
        assert torch.equal(value, expected)


def test_real_teacher(shared):
    model = MMPRETRAIN_MODELS.build(
        {
            'type': 'ImageClassifier',
            'backbone': {'type': 'mmdynakd.CifarResNet', 'depth': 20},
            'neck': {'type': 'GlobalAveragePooling'},
            'head': {'type': 'LinearClsHead', 'num_classes': 100, 'in_channels': 64},
        }
    )
    path = shared / 'teachers' / 'resnet20.pth'
    assert load_checkpoint_into(model, str(path), name='r20', train_command=None) == 'model/plain'
    assert same(plain(model.state_dict()), torch.load(path, weights_only=True)['model'])


def refused(model, path, pattern):
    """Check that loading fails with the pattern, names what it must, and leaves the model alone."""
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CheckpointError, match=pattern) as caught:
        load_checkpoint_into(model, str(path), name='big', train_command=COMMAND)
    message = str(caught.value)
    assert "Teacher 'big'" in message
    assert str(path) in message
    assert COMMAND in message
    assert '\n' not in message
    assert same(before, model.state_dict())
    return message


def test_missing_file_and_folder(tmp_path):
    refused(build(), tmp_path / 'no.pth', 'is missing')
    refused(build(), tmp_path, 'is a folder')


@pytest.mark.parametrize('keep', [0, 3, 100, 0.5, 0.99])
@pytest.mark.parametrize('zipped', [True, False])
def test_cut_file(tmp_path, keep, zipped):
    file = tmp_path / 'cut.pth'
    torch.save(build().state_dict(), file, _use_new_zipfile_serialization=zipped)
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    # Torch 2.0 tells a cut pickle from a forbidden one by no means; neither is executed or loaded.
    refused(build(seed=3), file, 'damaged' if zipped or TORCH >= (2, 4) else 'damaged|refused')


def test_flipped_byte_in_a_weight_and_a_foreign_file(tmp_path):
    file = tmp_path / 'flipped.pth'
    state = build().state_dict()
    torch.save(state, file)
    content = bytearray(file.read_bytes())
    content[content.index(state['head.fc.weight'].numpy().tobytes()) + 8] ^= 1
    file.write_bytes(content)
    refused(build(seed=3), file, 'damaged.*checksum')
    file.write_bytes(b'<html>404 Not Found</html>' * 40)
    refused(build(seed=3), file, r'not a PyTorch checkpoint \(1040 bytes')


@pytest.mark.parametrize('way', ['zip', 'legacy', 2, 3, 4, 5])
def test_code_is_refused_and_not_executed(tmp_path, way):
    place, file = tmp_path / 'canary', tmp_path / 'evil.pth'
    payload = {'model': plain(build().state_dict()), 'epoch': Canary(place)}
    if way in ('zip', 'legacy'):
        torch.save(payload, file, _use_new_zipfile_serialization=way == 'zip')
        torch.load(file, weights_only=False)
    else:
        file.write_bytes(pickle.dumps({'epoch': Canary(place)}, way))
        pickle.loads(file.read_bytes())
    assert place.is_dir()  # the canary works
    place.rmdir()
    refused(
        build(seed=3), file, 'is refused: it holds more than tensors.*nothing of it was executed'
    )
    assert not place.exists()


def test_a_whole_pickled_model_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / 'model.pth')
    refused(build(), tmp_path / 'model.pth', 'is refused.*torch.nn.modules.linear.Linear')


@pytest.mark.parametrize(
    ('payload', 'pattern'),
    [
        ([torch.zeros(2)], 'holds a list, where a dict'),
        (torch.zeros(2), 'holds a Tensor'),
        ({}, 'holds no tensors'),
        ({'epoch': 3, 'lr': 0.1}, r'holds no tensors \(its keys: epoch, lr\)'),
        ({'state_dict': {'note': 'empty'}}, r'holds no tensors \(its keys: note\)'),
    ],
)
def test_content_that_is_no_state_dict(tmp_path, payload, pattern):
    torch.save(payload, tmp_path / 'odd.pth')
    refused(build(), tmp_path / 'odd.pth', pattern)


def test_two_tensors_of_one_name(tmp_path):
    state = build(seed=1).state_dict()
    torch.save({**state, 'module.head.fc.bias': torch.zeros(10)}, tmp_path / 'twice.pth')
    refused(build(), tmp_path / 'twice.pth', "two tensors for 'head.fc.bias'")


def test_another_architecture_lists_keys_and_counts(tmp_path):
    state = build(depth=14, seed=1).state_dict()
    state['head.fc.weight'] = torch.zeros(100, 64)
    state['head.fc.bias'] = torch.zeros(100)
    torch.save({'state_dict': state}, tmp_path / 'r14.pth')
    extra = len(set(state) - set(build().state_dict()))
    message = refused(build(), tmp_path / 'r14.pth', 'another architecture')
    assert extra == 36
    assert f'{extra} unexpected (backbone.layer1.1.conv1.weight, ' in message
    assert f'and {extra - 8} more)' in message
    assert (
        '2 of another shape (head.fc.weight (100, 64), the model has (10, 64), head.fc.bias'
        in message
    )
    assert ' missing' not in message
    torch.save(build(seed=1).state_dict(), tmp_path / 'r8.pth')
    message = refused(
        build(depth=14), tmp_path / 'r8.pth', r'30 missing \(backbone.layer1.1.conv1.weight'
    )
    assert 'unexpected' not in message


def test_http_and_other_schemes_are_refused(monkeypatch):
    monkeypatch.setattr(downloads, 'download', lambda *a, **k: pytest.fail('downloaded'))
    for scheme in ('http', 'ftp', 'file', 's3'):
        refused(
            build(), f'{scheme}://example.org/a.pth', f'only https:// URLs are, not {scheme}://'
        )
    refused(build(), 'https://example.org/', 'without a file name')


@pytest.mark.parametrize(
    ('name', 'prefix'),
    [
        ('cifar100_resnet20-23dac2f1.pt', '23dac2f1'),
        ('resnet50_b16x8_cifar100_20210528-67b58a1b.pth', '67b58a1b'),
        ('resnet20.pth', None),
        ('resnet-20.pth', None),
        ('epoch-12345678.tar', None),
    ],
)
def test_hash_prefix_of_a_name(tmp_path, monkeypatch, name, prefix):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    place, found = downloads.cache_place(f'https://example.org/a/{name}?x=1')
    assert found == prefix
    assert place.parent == tmp_path / 'checkpoints'
    assert (place.name == name) == (prefix is not None)
    other, _ = downloads.cache_place(f'https://example.org/b/{name}?x=1')
    assert (other == place) == (prefix is not None)  # a name with no hash is kept apart by its URL


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The folder of downloads; at the end no half-made file may be in it."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    yield tmp_path / 'hub' / 'checkpoints'
    assert not list(tmp_path.rglob('*.tmp*'))


@pytest.fixture(scope='module')
def served():
    """A network, its file's bytes and their sha256."""
    source, buffer = build(seed=1), io.BytesIO()
    torch.save(source.state_dict(), buffer)
    return source, buffer.getvalue(), hashlib.sha256(buffer.getvalue()).hexdigest()


def test_download_is_checked_kept_and_repaired(hub, served, monkeypatch):
    source, content, digest = served
    url = f'https://example.org/cifar-{digest[:8]}.pth'
    web = Web(
        monkeypatch, **{url: 'https://cdn.example.org/x', 'https://cdn.example.org/x': content}
    )
    for _ in range(2):
        target = build(seed=2)
        assert load_checkpoint_into(target, url, name='t', train_command=None) == 'bare/mmpretrain'
        assert same(source.state_dict(), target.state_dict())
        assert web.asked == [url, 'https://cdn.example.org/x']
    (hub / f'cifar-{digest[:8]}.pth').write_bytes(b'damaged')
    load_checkpoint_into(build(seed=2), url, name='t', train_command=None)
    assert len(web.asked) == 4
    assert [path.name for path in hub.iterdir()] == [f'cifar-{digest[:8]}.pth']


ROUTE, NAME = OSError('no route'), 'https://example.org/r-0123abcd.pth'


@pytest.mark.parametrize(
    ('answer', 'pattern'),
    [
        (ROUTE, 'cannot be downloaded .*no route'),
        (b'another file', r'its sha256 is 100ef6a7\w{56}, not 0123abcd'),
        (
            'http://example.org/r.pth',
            'it leads to http://example.org/r.pth, and only https:// is followed',
        ),
        ('ftp://example.org/r.pth', 'it leads to ftp://'),
        ('file:///etc/passwd', "Redirection to url 'file:///etc/passwd' is not allowed"),
        ((b'cut', 'Content-Length: 1000\n'), 'only 3 of 1000 bytes arrived'),
        ((b'', 'Content-Length: 1\n'), 'only 0 of 1 bytes arrived'),
    ],
)
def test_a_failed_download_leaves_nothing_behind(hub, monkeypatch, answer, pattern):
    web = Web(monkeypatch, **{NAME: answer})
    refused(build(), NAME, pattern)
    assert web.asked == [NAME]
    assert list(hub.iterdir()) == []


def test_a_sha256_may_be_given_for_a_url_and_a_path(hub, served, monkeypatch, tmp_path):
    source, content, digest = served
    url = 'https://example.org/resnet8.pt'
    Web(monkeypatch, **{url: content})
    (tmp_path / 'own.pth').write_bytes(content)
    for path in (url, tmp_path / 'own.pth'):
        for good in (digest, digest[:8]):
            target = build(seed=2)
            load_checkpoint_into(target, dict(path=str(path), sha256=good), name='t')
            assert same(source.state_dict(), target.state_dict())
        for bad in ('0' * 64, '0' * 8):
            with pytest.raises(
                CheckpointError,
                match=f"Teacher 't': the checkpoint .* sha256 .*{digest}.*{bad}|{bad}",
            ):
                load_checkpoint_into(build(), dict(path=str(path), sha256=bad), name='t')
        for form in (digest[:7], digest.upper(), 5, digest + '0'):
            with pytest.raises(
                CheckpointError, match='sha256 must be 8 to 64 lowercase hex digits'
            ):
                load_checkpoint_into(build(), dict(path=str(path), sha256=form), name='t')


@teachable
def test_numpy_scalars_beside_the_weights(tmp_path):
    source, target = build(seed=1), build(seed=2)
    torch.save(
        {'model': plain(source.state_dict()), 'best_acc': np.float64(72.3)}, tmp_path / 'np.pth'
    )
    load_checkpoint_into(target, str(tmp_path / 'np.pth'), name='t', train_command=None)
    assert same(source.state_dict(), target.state_dict())


def test_a_missing_file_says_where_it_is_from(tmp_path):
    with pytest.raises(ValueError, match=r'is missing .* It is from: the archive of teachers\.'):
        TeacherEnsemble(
            dict(
                mine=dict(
                    teacher_cfg(),
                    checkpoint=str(tmp_path / 'no.pth'),
                    source='the archive of teachers',
                )
            )
        )
