"""The whole method at a size for two CPU cores: digits, three teachers, search and evaluation."""

import os.path as osp
import time
from collections.abc import Mapping, Sequence

from mmengine.config import Config

from mmdynakd.launch.config import configs_folder, load_config
from mmdynakd.launch.run import train

TEACHERS = ('resnet20', 'resnet14', 'resnet8')
FILES = (
    ('results.json', 'every lane: val, test, θ, seed, versions'),
    ('candidates.json', 'the distributions that the search found'),
    ('theta.png', 'θ over the search (numbers: theta.csv)'),
    ('student.pth', 'the best student, without teachers; config: student.py'),
)


def run_demo(folder: str, options: Sequence[str] = ()) -> None:
    """Trains the teachers, searches, evaluates, and says what is where.

    Args:
        folder: for everything; what it holds already is not trained again.
        options: overrides of each of the four configs, ``'KEY=VALUE'``.

    Examples:
        >>> run_demo('work_dirs/demo')  # doctest: +SKIP
    """
    start = time.time()
    checkpoints = {name: _train_teacher(name, osp.join(folder, name), options) for name in TEACHERS}
    _distill(checkpoints, osp.join(folder, 'dynakd'), options)
    print(f'\nDone in {time.time() - start:.0f} s. Everything is in {osp.join(folder, "dynakd")}:')
    for name, what in FILES:
        print(f'  {osp.join(folder, "dynakd", name):45} {what}')


def _train_teacher(name: str, folder: str, options: Sequence[str]) -> str:
    """Trains the teacher, unless that is done; its checkpoint."""
    print(f'\n=== teacher {name} ===', flush=True)
    cfg = _load(f'teachers/{name}_digits.py', options, folder)
    epochs = cfg.train_cfg.max_epochs
    train(cfg)
    return osp.join(folder, f'epoch_{epochs}.pth')


def _distill(checkpoints: Mapping[str, str], folder: str, options: Sequence[str]) -> None:
    print('\n=== DynaKD: search, then evaluation ===', flush=True)
    cfg = _load('dynakd_digits.py', options, folder)
    for name, checkpoint in checkpoints.items():
        cfg.model.teachers[name].checkpoint = checkpoint
    train(cfg)


def _load(name: str, options: Sequence[str], folder: str) -> Config:
    """Our own config, whatever file of its name the current folder holds."""
    return load_config(str(configs_folder() / name), options, folder)
