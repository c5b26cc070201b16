"""No file is executed, nothing leaves its folder, nothing is fetched unchecked: see SECURITY.md."""

import ast
import pickle
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from attacks import Canary, train
from mmengine.config import Config
from mmengine.registry import DefaultScope
from runs import CHECKOUT, read, run, search_config

from mmdynakd.downloads import HASH_ENDING
from mmdynakd.engine.hooks import CheckpointHook
from mmdynakd.engine.hooks.search_course import STATE
from mmdynakd.errors import CheckpointError
from mmdynakd.models.teachers.store.shelves import FileShelf, StoreError
from mmdynakd.names import is_lane_name, is_plain_name
from mmdynakd.safe_load import harmless

SOURCES = [
    path
    for folder in ('mmdynakd', 'tools', 'benchmarks')
    for path in (CHECKOUT / folder).rglob('*.py')
]
CONFIGS = sorted((CHECKOUT / 'configs').rglob('*.py'))
FORBIDDEN = {
    'eval',
    'exec',
    'compile',
    '__import__',
    'os.system',
    'os.popen',
    'pickle.load',
    'pickle.loads',
    'torch.load',
    'np.load',
    'numpy.load',
    'mmengine.load',
    'subprocess.getoutput',
    'Config.fromstring',
    'yaml.load',
    'marshal.loads',
    'tarfile.extractall',
    'tar.extractall',
    'urllib.request.urlopen',
    'torch.hub.load',
    'torch.hub.download_url_to_file',
    'torch.hub.load_state_dict_from_url',
}
# who may, and why
ALLOWED = {('safe_load.py', 'torch.load')}  # both calls are restricted: tests/test_safe_load.py


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize('path', SOURCES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_no_shell_and_nothing_that_runs_a_file(path):
    for name, node in calls(path):
        assert name not in FORBIDDEN or (path.name, name) in ALLOWED, f'line {node.lineno}: {name}'
        for keyword in node.keywords:
            assert keyword.arg != 'shell'
            assert keyword.arg != 'allow_pickle' or ast.unparse(keyword.value) == 'False'


def test_the_search_would_have_found_them(tmp_path):
    (tmp_path / 'a.py').write_text('import os\nos.system("x")\nsubprocess.run("x", shell=True)\n')
    found = dict(calls(tmp_path / 'a.py'))
    assert 'os.system' in FORBIDDEN & set(found)
    assert found['subprocess.run'].keywords[0].arg == 'shell'


# --- downloads ------------------------------------------------------------------------------------


def urls(node) -> Iterator[tuple[str, str | None]]:
    """Every URL of a config from which something would be fetched, with the sha256 beside it."""
    if isinstance(node, dict):
        for key, value in node.items():
            if (
                isinstance(value, str)
                and '://' in value
                and key in ('checkpoint', 'path', 'load_from', 'url', 'pretrained')
            ):
                yield value, node.get('sha256')
            yield from urls(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from urls(value)


def test_every_url_that_we_ship_is_https_and_has_a_hash():
    found = {pair for path in CONFIGS for pair in urls(Config.fromfile(path).to_dict())}
    assert len(found) >= 20
    for url, sha256 in found:
        assert url.startswith('https://')
        assert sha256 or HASH_ENDING.search(url), url


def test_nothing_we_ship_would_be_fetched_over_http():
    texts = [path.read_text(encoding='utf-8') for path in CONFIGS]
    assert len(texts) > 50
    assert not [text for text in texts if 'http://' in text]


# --- file names -----------------------------------------------------------------------------------

ESCAPES = [
    '..',
    '../x',
    '../../etc/x',
    '/etc/passwd',
    'a/b',
    'a\\b',
    'a\0b',
    '.hidden',
    '',
    ' ',
    'a\n',
    '\u0085',
    'x' * 101,
]


@pytest.mark.parametrize('name', ESCAPES)
def test_names_that_would_leave_their_folder(name):
    assert not is_plain_name(name)
    assert not is_lane_name(name)
    if '{}' not in name:
        with pytest.raises(ValueError, match='filename_tmpl must name a file'):
            CheckpointHook(filename_tmpl=name)


def test_good_names_are_taken():
    assert all(map(is_lane_name, ['search', 'cat1', 'only_resnet8x4', 'θ', 'a b', 'seed-1']))
    CheckpointHook(filename_tmpl='mine_{}.pth')


@pytest.mark.parametrize(
    ('key', 'value', 'kept'),
    [
        ('best_ckpt', '{}/best.pth', True),
        ('best_ckpt', '/etc/passwd', False),
        ('best_ckpt', '{}/../best.pth', False),
        ('best_ckpt_accuracy/top1', '{}/deeper/best.pth', False),
        ('best_ckpt', ['x'], False),
        ('last_ckpt', '/x', False),
        ('keep_ckpt_ids', [1, 2], True),
        ('keep_ckpt_ids', ['/../x'], False),
        ('keep_ckpt_ids', '12', False),
        ('seed', '/etc/passwd', True),
    ],
)
def test_a_checkpoint_names_no_files_elsewhere(tmp_path, key, value, kept):
    value = value.format(tmp_path) if isinstance(value, str) else value
    content = dict(
        meta=dict(config='x', seed=1), message_hub=dict(runtime_info={key: value, 'epoch': 3})
    )
    found = harmless(content, str(tmp_path))
    assert found['meta'] == dict(seed=1)
    assert found['message_hub']['runtime_info'] == (
        {key: value, 'epoch': 3} if kept else {'epoch': 3}
    )


@pytest.mark.parametrize(
    'content',
    [
        None,
        3,
        [],
        {},
        dict(meta=3),
        dict(meta={}, message_hub=3),
        dict(message_hub=dict(runtime_info=[])),
    ],
)
def test_checkpoints_of_another_shape_are_left(content):
    assert harmless(content, '/x') is content


def test_a_resumed_run_removes_no_file_that_its_checkpoint_names(tmp_path):
    """MMEngine removes ``best_ckpt`` of the message hub once there is a better one."""
    train(tmp_path / 'first', 1, uuid.uuid4().hex)
    precious = tmp_path / 'precious'
    precious.write_text('mine')
    path = tmp_path / 'first' / 'epoch_1.pth'
    content = torch.load(path, weights_only=False)
    content['message_hub']['runtime_info'].update(best_ckpt=str(precious), best_score=-1.0)
    torch.save(content, path)
    runner = train(tmp_path / 'first', 2, uuid.uuid4().hex, resume=True)
    assert runner.message_hub.runtime_info.get('best_ckpt') is None
    assert precious.read_text() == 'mine'


@pytest.mark.parametrize(
    'change',
    [
        lambda s: s['snapshots'][0].update(name='../../x'),
        lambda s: s['history'][0].update(lane='/x'),
        dict.clear,
        lambda s: s.update(interval='1'),
        lambda s: s.update(history=3),
        lambda s: s['snapshots'][0].update(theta='x'),
    ],
)
def test_names_in_a_resumed_search_are_checked(tmp_path, change):
    from mmdynakd.engine.hooks.search_course import check_state

    state = dict(
        history=[dict(step=0, lane='search', theta=dict(a=1.0))],
        interval=1,
        snapshots=[dict(name='cat1', lane='search', step=1, theta=dict(a=1.0))],
    )
    check_state(state)
    change(state)
    with pytest.raises(CheckpointError, match=f"the checkpoint's {STATE} is damaged"):
        check_state(state)


# --- the store ------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', ['key.json', 'layout.json', 'epoch_00000.rows'])
def test_a_pickle_in_a_store_is_not_run(tmp_path, name):
    folder, canary, said = tmp_path / 'shelf', tmp_path / 'canary', None
    shelf = FileShelf(str(folder), dict(a=1), 4, 'float32')
    shelf.keep(np.arange(4), [0], [torch.ones(4, 3)])
    (folder / name).write_bytes(
        pickle.dumps(Canary(canary)).ljust((folder / name).stat().st_size, b'.')
    )
    try:
        known, _ = FileShelf(str(folder), dict(a=1), 4, 'float32').fetch(
            np.arange(4), torch.device('cpu')
        )
    except StoreError as error:
        known, said = np.zeros(4), str(error)
    assert not known.any()
    assert said is None or (name in said and 'remove the folder' in said)
    assert not canary.exists()


def test_a_search_writes_below_its_work_dir_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(DefaultScope, '_instance_dict', {})  # of the runners before
    cfg = search_config(
        tmp_path / 'deep' / 'work', **{'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 1}
    )
    cfg.custom_hooks[0].pop('baselines')
    cfg.custom_hooks[0].update(single_teachers=False)
    run(cfg)
    assert read(tmp_path / 'deep' / 'work', 'results.json')['selected']
    outside = [path for path in tmp_path.rglob('*') if path.is_file() and 'work' not in path.parts]
    assert {path.parent.name for path in outside} == {'teachers'}
    assert len(outside) == 3
