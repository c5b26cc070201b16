"""Checkpoints run nothing while they are loaded: by us, by MMEngine, on every torch release."""

import io
import pickle
import uuid

import numpy as np
import pytest
import torch
from attacks import ATTACKS, Canary, Toy, train
from mmengine.logging import HistoryBuffer
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from runs import network, network_config
from web import Web

from mmdynakd import safe_load
from mmdynakd.errors import CheckpointError
from mmdynakd.registry import MODELS
from mmdynakd.safe_load import read_checkpoint

TORCH = tuple(map(int, torch.__version__.split('.')[:2]))


@pytest.fixture(params=['own', 'restricted'])
def way(request, monkeypatch):
    """torch's own unpickler, and the one for torch < 2.6, on any torch."""
    if request.param == 'own' and TORCH < safe_load.NATIVE:
        pytest.skip(
            "torch < 2.6 has no unpickler that takes what MMEngine saves: 'restricted' stands in"
        )
    if request.param == 'restricted':
        monkeypatch.setattr(safe_load, 'NATIVE', (99,))
    return request.param


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """A checkpoint of MMEngine's Runner, with its message hub, schedulers and EMA."""
    folder = tmp_path_factory.mktemp('saved')
    train(folder, 1, uuid.uuid4().hex)
    return folder / 'epoch_1.pth'


def equal(first, second) -> bool:
    if isinstance(first, dict):
        return (
            isinstance(second, dict)
            and first.keys() == second.keys()
            and all(equal(first[key], second[key]) for key in first)
        )
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(equal, first, second))
    if isinstance(first, HistoryBuffer):
        return equal(vars(first), vars(second))
    if isinstance(first, (torch.Tensor, np.ndarray)):
        return bool((first == second).all()) and first.dtype == second.dtype
    return first == second


def test_what_a_runner_saves_is_read_whole(way, saved):
    trusted = torch.load(saved, weights_only=False)
    found = read_checkpoint(saved)
    assert {
        'meta',
        'state_dict',
        'message_hub',
        'optimizer',
        'param_schedulers',
        'ema_state_dict',
    } <= set(found)
    assert equal(found, trusted)


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize(
    'dtype',
    [
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.float64,
        torch.int64,
        torch.bool,
        torch.uint8,
    ],
)
def test_tensors_of_every_type(tmp_path, way, dtype, zipped):
    base = torch.arange(6).reshape(2, 3).to(dtype)
    payload = dict(
        a=base,
        view=base.t(),
        own=torch.nn.Parameter(torch.ones(2)),
        size=base.shape,
        none=None,
        names={'x'},
        dtype=dtype,
        device=torch.device('cpu'),
    )
    torch.save(payload, tmp_path / 'a.pth', _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(tmp_path / 'a.pth')
    assert equal({**payload, 'own': payload['own'].data}, {**found, 'own': found['own'].data})
    assert isinstance(found['own'], torch.nn.Parameter)
    assert found['view'].stride() == payload['view'].stride()


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('attack', ATTACKS.values(), ids=ATTACKS.keys())
def test_attacks_are_refused(tmp_path, way, attack, zipped):
    mark, file = tmp_path / 'executed', tmp_path / 'evil.pth'
    torch.save({'state_dict': {}, 'x': attack(mark)}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r'is refused: .*nothing of it was executed'):
        read_checkpoint(file)
    with pytest.raises(CheckpointError, match=f'The checkpoint {file} is refused'):
        load_checkpoint(Toy(), str(file))
    assert not mark.exists()


def legacy(payload: bytes) -> bytes:
    """A file of torch's old format whose content is the raw pickle ``payload``."""
    head = [
        torch.serialization.MAGIC_NUMBER,
        torch.serialization.PROTOCOL_VERSION,
        dict(little_endian=True),
    ]
    return b''.join(pickle.dumps(part, 2) for part in head) + payload + pickle.dumps([], 2)


BUILDS = {
    'a class': (
        b'\x80\x02cmmengine.logging.history_buffer\nHistoryBuffer\n'
        b'N}X\x04\x00\x00\x00meanK\x01s\x86b.'
    ),
    'a function': b'\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x04\x00\x00\x00meanK\x01s\x86b.',
}


@pytest.mark.parametrize('payload', BUILDS.values(), ids=BUILDS.keys())
def test_nothing_but_plain_objects_is_filled_in(tmp_path, monkeypatch, payload):
    monkeypatch.setattr(safe_load, 'NATIVE', (99,))
    mean = HistoryBuffer.mean
    (tmp_path / 'evil.pth').write_bytes(legacy(payload))
    with pytest.raises(CheckpointError, match='it fills in a'):
        read_checkpoint(tmp_path / 'evil.pth')
    assert HistoryBuffer.mean is mean
    assert not hasattr(torch._utils._rebuild_tensor_v2, 'mean')
    (tmp_path / 'good.pth').write_bytes(legacy(pickle.dumps(dict(a=1), 2)))
    assert read_checkpoint(tmp_path / 'good.pth') == dict(a=1)


def test_canary_in_the_head_of_the_old_format(tmp_path, way):
    content = legacy(pickle.dumps({}, 2))
    magic = pickle.dumps(torch.serialization.MAGIC_NUMBER, 2)
    (tmp_path / 'evil.pth').write_bytes(
        content.replace(magic, pickle.dumps(Canary(tmp_path / 'canary'), 2), 1)
    )
    with pytest.raises(CheckpointError, match='is refused'):
        read_checkpoint(tmp_path / 'evil.pth')
    assert not (tmp_path / 'canary').exists()


def test_a_torchscript_program_is_refused(tmp_path, way):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / 'script.pth'))
    with pytest.raises(CheckpointError, match='TorchScript'):
        read_checkpoint(tmp_path / 'script.pth')


def test_a_tar_is_no_checkpoint(tmp_path, way):
    (tmp_path / 'a.pth').write_bytes(b'storages' + bytes(600))
    with pytest.raises(CheckpointError, match='not a PyTorch checkpoint'):
        read_checkpoint(tmp_path / 'a.pth')


# --- through MMEngine -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    'where', ['extra', 'optimizer', 'ema_state_dict', 'message_hub', 'param_schedulers']
)
@pytest.mark.parametrize('resume', [True, False], ids=['resume', 'load_from'])
def test_a_checkpoint_with_code_is_neither_resumed_nor_loaded(tmp_path, saved, way, where, resume):
    content = torch.load(saved, weights_only=False)
    content[where] = Canary(tmp_path / 'canary')
    torch.save(content, tmp_path / 'evil.pth')
    with pytest.raises(CheckpointError, match=r'The checkpoint .*evil\.pth is refused'):
        train(
            tmp_path / 'work',
            2,
            uuid.uuid4().hex,
            load_from=str(tmp_path / 'evil.pth'),
            resume=resume,
        )
    assert not (tmp_path / 'canary').exists()
    torch.load(tmp_path / 'evil.pth', weights_only=False)
    assert (tmp_path / 'canary').exists()


def test_the_config_in_a_checkpoint_is_not_run(tmp_path, saved):
    """MMEngine's resume reads ``meta['config']`` by ``Config.fromstring``, which runs it."""
    content = torch.load(saved, weights_only=False)
    content['meta']['config'] = f'import os\nos.mkdir({str(tmp_path / "canary")!r})\n'
    torch.save(content, tmp_path / 'evil.pth')
    toy = train(
        tmp_path / 'work', 2, uuid.uuid4().hex, resume=True, load_from=str(tmp_path / 'evil.pth')
    )
    assert toy.iter == 4
    assert not (tmp_path / 'canary').exists()


def pretrained(path):
    return MODELS.build(
        dict(network_config(), init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    )


def test_weights_that_a_student_starts_from(tmp_path, way, monkeypatch):
    monkeypatch.setattr(DefaultScope, '_instance_dict', {})  # of the runners before
    torch.save(
        dict(state_dict=network().state_dict(), x=Canary(tmp_path / 'canary')),
        tmp_path / 'evil.pth',
    )
    source = network(seed=3)
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'good.pth')
    evil, student = (pretrained(tmp_path / f'{name}.pth') for name in ('evil', 'good'))
    with pytest.raises(CheckpointError, match='is refused'):
        evil.init_weights()
    assert not (tmp_path / 'canary').exists()
    student.init_weights()
    assert all(
        torch.equal(value, source.state_dict()[key]) for key, value in student.state_dict().items()
    )


def test_other_schemes(tmp_path, monkeypatch, way):
    with pytest.raises(CheckpointError, match='only https:// URLs are'):
        load_checkpoint(Toy(), 'http://example.org/a.pth')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    content = io.BytesIO()
    torch.save(dict(x=Canary(tmp_path / 'canary')), content)
    Web(monkeypatch, **{'https://example.org/a.pth': content.getvalue()})
    with pytest.raises(CheckpointError, match='is refused'):
        load_checkpoint(Toy(), 'https://example.org/a.pth')

    def free(filename, map_location=None):
        """As a loader of MMEngine's own, or of onedl-mmengine when it gave up on weights-only."""
        return torch.load(
            tmp_path / filename.removeprefix('any://'),
            map_location=map_location,
            weights_only=False,
        )

    (tmp_path / 'evil.pth').write_bytes(content.getvalue())
    monkeypatch.setattr(CheckpointLoader, '_schemes', {**CheckpointLoader._schemes, 'any://': free})
    safe_load.guard_mmengine()
    true_load = torch.load
    guarded = CheckpointLoader._schemes['any://']
    with pytest.raises(pickle.UnpicklingError):
        guarded('any://evil.pth')
    assert torch.load is true_load
    assert not (tmp_path / 'canary').exists()
    torch.save(dict(a=torch.ones(2)), tmp_path / 'good.pth')
    assert guarded('any://good.pth')['a'].tolist() == [1, 1]


def test_an_archive_that_points_before_its_start_is_damaged(tmp_path, way):
    """Its records' places count from the directory's; zipfile then seeks there, an EINVAL."""
    path = tmp_path / 'x.pth'
    torch.save(dict(a=torch.ones(2)), path)
    content = bytearray(path.read_bytes())
    end = content.rindex(b'PK\6\6') + 48
    content[end : end + 8] = (int.from_bytes(content[end : end + 8], 'little') + 10_000).to_bytes(
        8, 'little'
    )
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match='damaged'):
        read_checkpoint(path)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(CheckpointError, match=f'The checkpoint {tmp_path}/no.pth is missing'):
        load_checkpoint(Toy(), f'{tmp_path}/no.pth')
