"""The student of a finished evaluation, exported once more, or that of another lane."""

import os.path as osp
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from msgspec import UNSET
from torch import nn

from mmdynakd.errors import UserError
from mmdynakd.export.student import copy_student, export_student
from mmdynakd.launch.config import import_custom
from mmdynakd.models.algorithms.build import with_preprocessor
from mmdynakd.names import suggestion
from mmdynakd.safe_load import read_checkpoint
from mmdynakd.values import read_results
from mmdynakd.workdir.checkpoints import newest_checkpoint
from mmdynakd.workdir.runs import RUN, read_run

from .plan import RESULTS, RUNS, SIDE_BY_SIDE

STUDENT = 'student.pth'


def export_again(
    source: str, lane: str | None = None, seed: int | None = None, out_dir: str | None = None
) -> str:
    """Writes ``student.pth``, ``student.py`` and ``student.yml`` of a lane.

    Args:
        source: work dir of a run with ``results.json``, or a checkpoint of lanes, whose folder has
            ``run.json``.
        lane: its name; by default the one that the results chose, or the only one in the
            checkpoint.
        seed: of the student, where the lane was trained with several.
        out_dir: existing folder; by default that of the run.

    Returns:
        Path of the written ``student.pth``.

    Raises:
        UserError: there is no such run, lane or seed, or no checkpoint that is whole.

    Examples:
        >>> export_again('work_dirs/demo/dynakd', lane='ce', out_dir='ce')  # doctest: +SKIP
        'ce/student.pth'
    """
    if not osp.isdir(source):
        return _from_checkpoint(osp.dirname(source), source, lane, out_dir)
    results = read_results(osp.join(source, RESULTS))
    lane = lane or results.selected
    own_seed = results.seed if results.student_seed is UNSET else results.student_seed
    apart = osp.join(source, RUNS, f'{lane}-seed{own_seed if seed is None else seed}')
    if osp.isfile(osp.join(apart, STUDENT)):
        copy_student(apart, out_dir or source)
        return osp.join(out_dir or source, STUDENT)
    if seed not in (None, results.seed):
        raise UserError(f'there is no {osp.join(apart, STUDENT)}: seed {seed} was not trained')
    beside = osp.join(source, SIDE_BY_SIDE)
    folder = beside if osp.isdir(beside) else source
    return _from_checkpoint(folder, None, lane, out_dir or source)


def _from_checkpoint(folder: str, path: str | None, lane: str | None, out_dir: str | None) -> str:
    cfg = _config_of(folder)
    path = path or newest_checkpoint(cfg)
    if path is None or not osp.isfile(path):
        raise UserError(
            f'{path or folder}: no checkpoint is left to export from; the command that trained '
            'the run makes it again with --fresh'
        )
    saved: Any = read_checkpoint(Path(path))
    students = _students(saved['state_dict'])
    if lane is None and len(students) == 1:
        lane = next(iter(students))
    if lane not in students:
        raise UserError(
            f'{path} holds the lanes {list(students)}; --lane names one of them'
            f'{"" if lane is None else f", got {lane!r}{suggestion(lane, students)}"}'
        )
    student = _student(cfg, students[lane])
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    return export_student(cfg, student, dataset, out_dir or folder)


def _config_of(folder: str) -> Config:
    noted = read_run(folder)
    if noted is None:
        raise UserError(
            f'{osp.join(folder, RUN)} is missing: give the work dir of a run, or a checkpoint in it'
        )
    cfg = Config(noted['config'], cfg_text=' ', filename=noted.get('filename'))
    cfg.work_dir = folder
    import_custom(cfg)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    return cfg


def _students(state: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """The students' own entries of a checkpoint, by lane."""
    found: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in state.items():
        room, _, rest = key.partition('.')
        lane, _, rest = rest.partition('.')
        part, _, name = rest.partition('.')
        if (room, part) == ('lanes', 'student'):
            found.setdefault(lane, {})[name] = value
    return found


def _student(cfg: Config, weights: Mapping[str, torch.Tensor]) -> nn.Module:
    shared = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
    architecture, _ = with_preprocessor(cfg.model.architecture, shared)
    student: nn.Module = MODELS.build(architecture)
    student.load_state_dict(weights)
    return student
