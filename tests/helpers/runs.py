"""Whole runs of MMEngine's Runner, small: digits, untrained teachers, a few steps."""

import contextlib
import copy
import functools
import io
import itertools
import json
import uuid
from pathlib import Path
from unittest import mock

import torch
from mmengine.config import Config, config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from yapf.yapflib import yapf_api

import mmdynakd  # noqa: F401

CHECKOUT = Path(__file__).resolve().parents[2]
TEACHERS = ('strong', 'middle', 'weak')
NUMBERS = itertools.count()
RESULT_FILES = ('candidates.json', 'theta.*', 'results.json', 'results.md', 'student.py', '*.pth')


class PowerCutError(Exception):
    """The run was cut off, as by a power cut."""


@HOOKS.register_module()
class CutOff(Hook):
    """Cuts the run off before iteration ``at`` of the stage whose work dir is named ``stage``.

    Without arguments, at ``planned``: so that a run and its resumption have one config.
    """

    planned: tuple[int, str] | None = None

    def __init__(self, at: int | None = None, stage: str | None = None) -> None:
        self.given = (at, stage)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if (runner.iter, Path(runner.work_dir).name) in (self.given, self.planned):
            raise PowerCutError


def network(depth: int = 8, classes: int = 10, seed: int | None = None) -> torch.nn.Module:
    """An untrained teacher for digits; its BatchNorm statistics are its own."""
    if seed is not None:
        torch.manual_seed(seed)
    model = MODELS.build(network_config(depth, classes))
    model.init_weights()
    for name, buffer in model.named_buffers():
        if name.endswith('running_mean'):
            buffer.normal_(0, 0.1)
    return model


def network_config(depth: int = 8, classes: int = 10) -> dict:
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='mmdynakd.CifarResNet', depth=depth),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=classes, in_channels=64),
    )


def teachers(folder: Path) -> dict:
    """Three teachers of random weights in ``folder``, as the config wants them."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(TEACHERS):
        (folder / f'{name}.pth').write_bytes(teacher_file(seed))
    return {
        name: dict(
            model=network_config(),
            checkpoint=str(folder / f'{name}.pth'),
            config=f'configs/teachers/{name}_digits.py',
        )
        for name in TEACHERS
    }


@functools.cache
def teacher_file(seed: int) -> bytes:
    """A checkpoint of ``network(seed=seed)``; the global generator stays where it is."""
    file = io.BytesIO()
    with torch.random.fork_rng([]):
        torch.save(dict(state_dict=network(seed=seed).state_dict()), file)
    return file.getvalue()


@functools.cache
def digits_config() -> Config:
    return Config.fromfile(CHECKOUT / 'configs' / 'dynakd_digits.py')


def search_config(work_dir: Path, **options) -> Config:
    """``configs/dynakd_digits.py``, small: 72 training images (5 batches), 40 others (3), 2 epochs.

    Args:
        work_dir: its sibling ``teachers`` holds the teachers.
        options: merged over it, keys with dots.
    """
    cfg = copy.deepcopy(digits_config())
    cfg.model.pop('teachers')
    cfg.model.teachers = teachers(work_dir.parent / 'teachers')
    loaders = dict(
        train=cfg.train_dataloader,
        upper=cfg.train_cfg.upper_dataloader,
        val=cfg.val_dataloader,
        test=cfg.test_dataloader,
    )
    for name, loader in loaders.items():
        loader.batch_size = 16
        loader.dataset.update(indices=72 if name == 'train' else 40, serialize_data=False)
    cfg.merge_from_dict(
        {
            'work_dir': str(work_dir),
            'log_level': 'WARNING',
            'train_cfg.max_epochs': 2,
            'train_cfg.val_interval': 2,
            'optim_wrapper.theta.optimizer.lr': 0.2,
            'param_scheduler.student.T_max': 2,
        }
    )
    cfg.custom_hooks[0].update(num_candidates=2, interval=1)
    cfg.merge_from_dict(options)
    return cfg


def run(cfg: Config) -> Runner:
    """Trains, under a name of its own: MMEngine shares logs between runs of one name."""
    cfg.experiment_name = uuid.uuid4().hex
    with quick():
        runner = Runner.from_cfg(cfg)
        runner.train()
    return runner


@contextlib.contextmanager
def quick():
    """Without two habits of MMEngine that a tiny run cannot afford.

    It lays out each config that it writes, which takes two thirds of such a run. And it names
    logs and log folders after the second, so that runs within one second share them.
    """
    set_up = Runner.setup_env

    def as_it_comes(text, **_):
        return text, True

    def with_a_number(self, *args) -> None:
        set_up(self, *args)
        self._timestamp += f'_{next(NUMBERS)}'

    # MMEngine holds yapf's function by name, onedl-mmengine fetches it anew
    with (
        mock.patch.object(config, 'FormatCode', as_it_comes, create=True),
        mock.patch.object(yapf_api, 'FormatCode', as_it_comes),
        mock.patch.object(Runner, 'setup_env', with_a_number),
    ):
        yield


def read(work_dir: Path, name: str) -> dict:
    return json.loads((work_dir / name).read_text(encoding='utf-8'))


def weights(path: Path) -> dict[str, torch.Tensor]:
    # Below torch 2.4 weights-only loading cannot be taught what MMEngine's checkpoints hold
    # (compat).
    safe = tuple(map(int, torch.__version__.split('.')[:2])) >= (2, 4)
    return torch.load(path, weights_only=safe)['state_dict']


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[key], second[key]) for key in first
    )


def result_files(work_dir: Path) -> list[str]:
    """What a run leaves in ``work_dir`` or below it that could be taken for a result."""
    found = (path for pattern in RESULT_FILES for path in work_dir.rglob(pattern))
    return sorted(str(path.relative_to(work_dir)) for path in found)
