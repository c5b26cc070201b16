"""Killed at any moment and started again, a run ends bit for bit as one that is left alone."""

import os
import random
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from dist_cases import plain_network
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import HOOKS, OPTIM_WRAPPERS
from resumed import by_epoch
from runs import quick

from mmdynakd.diagnostics import determinism
from mmdynakd.launch.run import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not hasattr(os, 'fork'), reason='no os.fork here: the runs to kill are forked'
    ),
]


@OPTIM_WRAPPERS.register_module()
class CpuAmp(AmpOptimWrapper):
    """MMEngine's on the CPU, where it refuses to run; the scale grows every other step."""

    def __init__(self, **kwargs) -> None:
        with mock.patch(
            'mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available', return_value=True
        ):
            super().__init__(dtype='bfloat16', **kwargs)
        if hasattr(
            torch.amp, 'GradScaler'
        ):  # torch >= 2.3; before, the scaler is one that does nothing on the CPU
            self.loss_scaler = torch.amp.GradScaler('cpu', init_scale=64.0, growth_interval=2)


@HOOKS.register_module()
class Jitter(Hook):
    """Draws from the global generators in every step, as batch augmentations do."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        shift = int(np.random.randint(3)) + random.randrange(3)  # noqa: NPY002
        data_batch['inputs'] = [
            image + shift + int(torch.randint(3, ())) for image in data_batch['inputs']
        ]


def config(work: Path):
    """All that has a state: momentum, AMP's scale, pending gradients, averages, schedulers."""
    cfg = by_epoch(work)
    cfg.model.architecture = plain_network(8, norm=True)
    cfg.train_dataloader.dataset.indices = 56  # epochs of 4 iterations
    # Within epochs and at the end of one; a gradient waits for its step in every other checkpoint.
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=3, max_keep_ckpts=2)
    cfg.optim_wrapper.student.update(type='CpuAmp', accumulative_counts=2)
    cfg.custom_hooks += [dict(type='EMAHook', momentum=0.1), dict(type='Jitter')]
    return cfg


def trains(work: str) -> None:
    torch.set_num_threads(1)
    with quick():
        train(config(Path(work)))


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """The work dir of a run that nothing disturbed.

    A run in this process comes first: what it imports, the forked ones need not, so that they are
    killed in their work rather than in imports.
    """
    folder, threads = tmp_path_factory.mktemp('kills'), torch.get_num_threads()
    trains(str(folder / 'first'))
    torch.set_num_threads(threads)
    start = time.monotonic()
    assert determinism.attempt(trains, str(folder / 'whole'))
    return SimpleNamespace(work=str(folder / 'whole'), took=time.monotonic() - start)


def assert_equal(whole, work: str) -> None:
    equal = determinism.differences(whole.work, work)
    assert all(equal.values()), equal
    assert {
        'candidates.json',
        'theta.csv',
        'results.json',
        'student.pth',
        'state_dict',
        'optimizer',
        'param_schedulers',
        'ema_state_dict',
        'dynakd_search',
        'mmdynakd_resume',
    } <= {Path(k).name for k in equal}
    assert not list(Path(work).rglob('*.tmp*'))


def test_killed_at_random_moments(whole):
    work = f'{whole.work}_random'
    assert determinism.interrupt(trains, work, kills=20, longest=0.35 * whole.took, seed=1) == 20
    assert_equal(whole, work)


class Deadly:
    """Kills its process at the ``fatal``-th touch of a file: before, in the midst, or after."""

    def __init__(self, fatal: int) -> None:
        self.left = fatal

    def __enter__(self) -> None:
        for name, half in (
            ('fsync', True),
            ('replace', False),
            ('remove', False),
            ('rename', False),
        ):
            setattr(os, name, self._counted(getattr(os, name), half))

    def __exit__(self, *_) -> None:
        """The process ends here."""

    def _counted(self, act, half: bool):
        def counted(target, *args, **kwargs):
            self.left -= 1
            if self.left == 0:
                if half:
                    os.ftruncate(target, os.fstat(target).st_size // 2)
                self.die()
            act(target, *args, **kwargs)
            if self.left == 1 and not half:
                self.die()

        return counted

    @staticmethod
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_killed_at_every_kind_of_write(whole):
    """While a checkpoint, a note or a result is written, just before it is in place, just after."""
    chance = random.Random(0)
    work = f'{whole.work}_writes'

    def deadly(work_dir: str) -> None:
        with Deadly(fatal):
            trains(work_dir)

    for _ in range(12):
        fatal = chance.randint(1, 16)
        assert not determinism.attempt(deadly, work)
    assert determinism.attempt(trains, work)
    assert_equal(whole, work)
    assert 'goes on from' in Path(f'{work}.log').read_text()
