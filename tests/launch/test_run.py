"""What the tools do to a config before the Runner sees it; what the launcher says at the end."""

import datetime
import importlib.util
from types import SimpleNamespace

import pytest
import torch.distributed
from mmengine.config import Config
from runs import CHECKOUT
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from toys import built, dynakd_cfg

from mmdynakd.launch.config import keep_teacher_order
from mmdynakd.launch.processes import connected, use_gloo

NAMES = ['strong', 'middle', 'weak']


def test_the_order_of_the_teachers_outlives_a_dumped_config(tmp_path):
    teachers = dict(zip(NAMES, dynakd_cfg(3)['teachers'].values()))
    cfg = Config(dict(model={**dynakd_cfg(3), 'teachers': teachers}))
    keep_teacher_order(cfg)
    cfg.dump(tmp_path / 'dumped.py')
    again = Config.fromfile(tmp_path / 'dumped.py')
    assert list(again.model.teachers) == sorted(NAMES) != NAMES  # what MMEngine does to mappings
    assert built(again.model).ensemble.names == NAMES


def test_a_teacher_order_that_misses_one_is_an_error():
    with pytest.raises(ValueError, match='teacher_order must name each of the teachers'):
        built({**dynakd_cfg(3), 'teacher_order': ['t0', 't1']})


@pytest.mark.parametrize(
    ('env_cfg', 'seconds'), [({}, 600), (dict(dist_cfg=dict(backend='nccl', timeout=7)), 7)]
)
def test_processes_without_a_gpu_wait_for_one_another_as_long_as_the_config_says(
    monkeypatch, env_cfg, seconds
):
    made = []
    monkeypatch.setattr(
        torch.distributed, 'init_process_group', lambda *args, **kwargs: made.append((args, kwargs))
    )
    cfg = Config(dict(launcher='pytorch', env_cfg=env_cfg))
    use_gloo(cfg)
    assert made == [(('gloo',), dict(timeout=datetime.timedelta(seconds=seconds)))]
    assert cfg.model_wrapper_cfg.device_ids is None


def test_sync_bn_of_torch_without_a_gpu_is_an_error():
    with pytest.raises(
        ValueError,
        match=r'SyncBatchNorm runs on GPUs only: remove it, and set model\.sync_bn=True',
    ):
        use_gloo(Config(dict(launcher='pytorch', sync_bn='torch')))


def test_an_error_is_noted_for_torchrun(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCHELASTIC_ERROR_FILE', str(tmp_path / 'error.json'))
    with pytest.raises(ZeroDivisionError), connected(Config({})):
        _ = 1 / 0
    assert 'ZeroDivisionError' in (tmp_path / 'error.json').read_text()


@pytest.fixture(scope='module')
def torchrun():
    spec = importlib.util.spec_from_file_location('torchrun', CHECKOUT / 'tools' / 'torchrun.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ('ended', 'is_mistake'),
    [
        ({0: (2, 'no such file'), 1: (2, dict(message='no such file'))}, True),
        ({0: (2, 'no such file'), 1: (-15, '')}, True),
        ({0: (2, 'connection reset'), 1: (2, 'out of room')}, False),
        ({0: (2, 'a'), 1: (-9, '')}, False),
        ({0: (1, 'a'), 1: (1, 'a')}, False),
    ],
)
def test_the_launcher_adds_nothing_to_a_mistake_that_all_processes_found(
    torchrun, monkeypatch, ended, is_mistake
):
    failures = {
        rank: ProcessFailure(rank, 10 + rank, code, '') for rank, (code, _) in ended.items()
    }
    for rank, (_, message) in ended.items():
        failures[rank].message = message

    def fail():
        raise ChildFailedError('train.py', failures)

    monkeypatch.setattr(torchrun.run, 'main', fail)
    with pytest.raises(SystemExit) as ending:
        torchrun.main()
    assert (ending.value.code == 2) is is_mistake
    assert is_mistake or 'the other processes were ended too' in ending.value.code


ERROR, KILL, TERM = 1, -9, -15


@pytest.mark.parametrize(
    ('ended', 'said'),
    [
        (
            {0: (ERROR, 0), 1: (KILL, 1)},
            'rank 1 (process 11) was killed by SIGKILL, perhaps for lack of memory;',
        ),
        ({0: (TERM, 0), 1: (KILL, 0)}, 'rank 1 (process 11) was killed by SIGKILL, perhaps'),
        ({0: (TERM, 0), 1: (-11, 0)}, 'rank 1 (process 11) was killed by SIGSEGV; the others'),
        (
            {0: (TERM, 0), 1: (ERROR, 0)},
            'rank 1 (process 11) ended with exit code 1, its error is above; the others',
        ),
        ({0: (ERROR, 2), 1: (ERROR, 1)}, 'rank 1 (process 11) ended with exit code 1'),
        (
            {0: (ERROR, 0), 1: (KILL, 31)},
            'rank 0 (process 10) ended with exit code 1, its error is above; rank 1 hung;',
        ),
        ({0: (TERM, 1), 1: (TERM, 0)}, 'rank 1 (process 11) was killed by SIGTERM;'),
    ],
)
def test_the_launcher_names_who_ended_first(torchrun, ended, said):
    failures = {
        rank: SimpleNamespace(exitcode=code, timestamp=when, pid=10 + rank)
        for rank, (code, when) in ended.items()
    }
    assert torchrun.explained(failures).startswith(
        said.replace('the others', 'the other processes were ended')
    )
