"""The checks that a config's owner runs: of a checkpoint, of teachers, of determinism."""

import copy
import json
import os
import os.path as osp
import sys
import time
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config

from mmdynakd.diagnostics.determinism import compare
from mmdynakd.diagnostics.teachers import run_check
from mmdynakd.files import write_text
from mmdynakd.report.teachers_table import teachers_table
from mmdynakd.values import write

from .run import run, train


def checkpoint_metrics(cfg: Config, checkpoint: str, out: str | None = None) -> dict[str, Any]:
    """Tests weights on the config's test loader.

    Args:
        cfg: an exported student's, or any that MMEngine's Runner takes.
        checkpoint: path or URL of the weights.
        out: file for the metrics, as JSON.

    Returns:
        The metrics, by name.

    Examples:
        >>> from mmdynakd.launch.config import read_config
        >>> checkpoint_metrics(read_config('student.py'), 'student.pth')  # doctest: +SKIP
        {'accuracy/top1': 98.87}
    """
    metrics: dict[str, Any] = {}
    cfg.load_from = checkpoint
    run(cfg, lambda runner: metrics.update(runner.test()))
    if out:
        with open(out, 'w', encoding='utf-8') as file:
            json.dump(metrics, file, indent=2)
    return metrics


def report_teachers(
    cfg: Config,
    splits: Sequence[str] | None = None,
    work_dir: str | None = None,
    out: str | None = None,
) -> None:
    """Prints what :func:`.teachers.run_check` finds, and writes it where that is asked.

    Args:
        cfg: of a DynaKD run.
        splits: ``'val'`` and ``'test'``; see :func:`.teachers.run_check`.
        work_dir: folder for ``teachers.json`` and ``teachers.md``.
        out: file for the report, as JSON.

    Examples:
        >>> from mmdynakd.launch.config import load_config
        >>> report_teachers(load_config('dynakd_r56_cifar100.py'), ['val'])  # doctest: +SKIP
    """
    report = run_check(cfg, splits, Progress)
    table = teachers_table(report)
    print(table, end='')
    places = [(work_dir, 'teachers.json')] if work_dir else []
    places += [(osp.dirname(osp.abspath(out)), osp.basename(out))] if out else []
    for folder, name in places:
        os.makedirs(folder, exist_ok=True)
        write(folder, name, report)
    if work_dir:
        write_text(work_dir, 'teachers.md', table)


class Progress:
    """A line on stderr every few seconds: batches done, and the seconds that are left.

    Examples:
        >>> Progress('val', 2)(1)  # nothing yet: not five seconds have passed
    """

    def __init__(self, split: str, batches: int, every: float = 5.0) -> None:
        self.split, self.batches, self.every = split, batches, every
        self.start = self.said = time.monotonic()

    def __call__(self, done: int) -> None:  # noqa: D102 (the class says it)
        now = time.monotonic()
        if now - self.said < self.every and not (done == self.batches and self.said > self.start):
            return
        self.said = now
        left = (now - self.start) / done * (self.batches - done)
        print(
            f'{self.split}: {done}/{self.batches} batches, {left:.0f} s left',
            file=sys.stderr,
            flush=True,
        )


def survives_kills(cfg: Config, kills: int, seed: int = 0) -> bool:
    """Whether a run killed at random moments ends like one left alone; prints what is equal.

    Args:
        cfg: trained twice, below ``determinism/`` in its work dir.
        kills: how many SIGKILLs are sent, at most.
        seed: of their moments.

    Examples:
        >>> from mmdynakd.launch.config import load_config
        >>> cfg = load_config('dynakd_digits.py', ['train_cfg.max_epochs=3'])
        >>> survives_kills(cfg, kills=5)  # doctest: +SKIP
        True
    """
    folder = osp.join(cfg.work_dir, 'determinism')

    def train_into(work_dir: str) -> None:
        cfg_of_run = copy.deepcopy(cfg)
        cfg_of_run.work_dir = work_dir
        train(cfg_of_run)

    equal = compare(train_into, folder, kills, seed)
    for name, same in equal.items():
        print(f'{"equal  " if same else "DIFFERS"}  {name}')
    return all(equal.values())
