"""The runs that gpu.py times, from the shipped config of r56, r44, r32 -> r20."""

import argparse
import time
from pathlib import Path
from typing import ClassVar

from common import synchronize
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from networks import network
from runners import LATE_METRICS, RandomImages  # noqa: F401

CHECKOUT = Path(__file__).resolve().parents[1]
CONFIG = CHECKOUT / 'configs' / 'dynakd_r56_cifar100.py'
DATA = CHECKOUT / 'configs' / '_base_' / 'datasets'
EPOCHS, MILESTONES = 240, (150, 180, 210)  # of the config
LOADERS = dict(
    train='train_dataloader', upper='upper_dataloader', val='val_dataloader', test='test_dataloader'
)
HELD_OUT = 10  # val and test of random images are this many times smaller than train


@HOOKS.register_module(force=True)
class EpochTimes(Hook):
    """Keeps the seconds of every training epoch, without validation, by name of the work dir."""

    priority = 'VERY_HIGH'
    taken: ClassVar[dict[str, list[float]]] = {}

    def before_train_epoch(self, runner) -> None:
        synchronize(str(next(runner.model.parameters()).device))
        self.start = time.perf_counter()

    def after_train_epoch(self, runner) -> None:
        synchronize(str(next(runner.model.parameters()).device))
        self.taken.setdefault(Path(runner.work_dir).name, []).append(
            time.perf_counter() - self.start
        )


def config(
    args: argparse.Namespace, fast: str | dict | None, epochs: int, work_dir: Path
) -> Config:
    """Configure the two stages: M candidates without baselines.

    ``fast=None`` is the stock path throughout: MMPretrain's pipeline, MMEngine's hooks, no records
    kept.
    """
    cfg = Config.fromfile(CONFIG)
    cfg.model.fast = fast
    data = Config.fromfile(DATA / ('cifar100_arrays.py' if fast else 'cifar100.py'))
    for split, name in LOADERS.items():
        _locate(data[name], args, split)
        cfg[name] = data[name]
    cfg.default_hooks.runtime_info = (
        LATE_METRICS['runtime_info'] if fast else dict(type='RuntimeInfoHook')
    )
    cfg.train_cfg.upper_dataloader = cfg.pop('upper_dataloader')
    cfg.train_cfg.update(max_epochs=epochs, val_interval=max(1, epochs // 24))
    if not fast:
        cfg.train_cfg.upper_cache_mb = 0
    milestones = sorted({max(1, at * epochs // EPOCHS) for at in MILESTONES})
    cfg.param_scheduler.student.milestones = milestones
    _locate_teachers(cfg, args)
    times = dict(type='EpochTimes')
    cfg.custom_hooks = [
        times,
        dict(type='mmdynakd.CandidateEvaluationHook', num_candidates=args.candidates),
    ]
    cfg.update(
        work_dir=str(work_dir), log_level='ERROR', experiment_name=work_dir.name, launcher='none'
    )
    if args.depth != 20:
        cfg.model.architecture = network(args.depth)
    return cfg


def distillation(
    args: argparse.Namespace, fast: str | dict | None, epochs: int, work_dir: Path
) -> Config:
    """Configure ordinary KD from the first teacher only."""
    cfg = config(args, fast, epochs, work_dir)
    teacher = next(iter(cfg.model.teachers))
    cfg.model.teachers = {teacher: cfg.model.teachers[teacher]}
    cfg.model.teacher_order = [teacher]
    cfg.model.selection = dict(probs=teacher)
    for key in ('upper_dataloader', 'upper_cache_mb'):
        cfg.train_cfg.pop(key, None)
    cfg.custom_hooks = [cfg.custom_hooks[0], dict(type='mmdynakd.ResultsHook')]
    return cfg


def _locate_teachers(cfg: Config, args: argparse.Namespace) -> None:
    """Checkpoints as given, strong to weak; random weights for a teacher without one."""
    given = dict(pair.split('=', 1) for pair in args.teachers)
    unknown = set(given) - set(cfg.model.teachers)
    if unknown:
        raise SystemExit(
            f'--teachers names no teachers: {sorted(unknown)}; there are {list(cfg.model.teachers)}'
        )
    cfg.model.teacher_order = list(cfg.model.teachers)
    for name, entry in cfg.model.teachers.items():
        entry.checkpoint = given.get(name)
        if args.teacher_depth:
            entry.model.backbone.depth = args.teacher_depth


def _locate(loader: dict, args: argparse.Namespace, split: str) -> None:
    """Set the batch size and the images: real ones if their folder is given, else noise."""
    inner = loader.dataset.dataset if 'dataset' in loader.dataset else loader.dataset
    if args.data_root:
        inner.update(data_root=args.data_root, verify=False)
    else:
        number = args.images if split == 'train' else max(args.batch, args.images // HELD_OUT)
        pipeline = inner.get('pipeline', [])
        inner.clear()
        inner.update(type='mmpretrain.RandomImages', number=number, pipeline=pipeline)
    if split in ('train', 'upper'):
        loader.batch_size = args.batch


def images_per_epoch(args: argparse.Namespace) -> int:
    return 45_000 if args.data_root else args.images
