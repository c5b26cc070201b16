"""Tables and figures, made once more from the files of a run or of a study."""

import csv
import os.path as osp
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from msgspec import UNSET, structs

from mmdynakd.errors import UserError
from mmdynakd.evaluation.lanes import search_hook
from mmdynakd.evaluation.plan import CANDIDATES, RESULTS
from mmdynakd.files import write_text
from mmdynakd.launch.config import import_custom
from mmdynakd.report import results_table, write_comparison, write_theta
from mmdynakd.report.teachers_table import teachers_table
from mmdynakd.values import (
    Candidate,
    Results,
    TeacherReport,
    ThetaPoint,
    read,
    read_candidates,
    read_results,
)
from mmdynakd.workdir.runs import read_run

from .run import FIRST, LATER, TEACHERS, joined

THETA, METRIC = 'theta.csv', 'accuracy/top1'


def report_again(folder: str) -> list[str]:
    """Makes every table and figure again for which the folder holds the numbers.

    Of a run these are ``results.md``, ``theta.png`` and, with several seeds, ``comparison.md``; of
    a study ``comparison.md``, its seeds in ascending order; of a check of teachers
    ``teachers.md``.

    Args:
        folder: work dir of a run or of a study.

    Returns:
        Paths of what was written.

    Raises:
        UserError: there are no such files, or one of them is wrong.

    Examples:
        >>> report_again('work_dirs/demo/dynakd')  # doctest: +SKIP
        ['work_dirs/demo/dynakd/results.md', 'work_dirs/demo/dynakd/theta.png']
    """
    written = [*_run(folder), *_theta(folder), *_study(folder), *_teachers(folder)]
    if not written:
        raise UserError(
            f'{folder} holds none of {RESULTS}, {THETA} and {TEACHERS}, and no finished seeds: '
            'give the work dir of a run that has ended, or of a study'
        )
    return written


def _run(folder: str) -> Iterator[str]:
    if not _has(folder, RESULTS):
        return
    metric = _metric(folder)
    results = read_results(osp.join(folder, RESULTS), metric)
    yield write_text(folder, 'results.md', results_table(results, metric))
    if results.seeds is not UNSET:
        yield write_comparison(folder, [_of_seed(results, seed) for seed in results.seeds], metric)


def _of_seed(results: Results, seed: int) -> Results:
    rows = tuple(row for row in results.lanes if row.seed == seed)
    return structs.replace(results, seed=seed, lanes=rows)


def _theta(folder: str) -> Iterator[str]:
    if not _has(folder, THETA):
        return
    path = osp.join(folder, THETA)
    try:
        history = _read_theta(path)
    except (ValueError, KeyError) as error:
        raise UserError(
            f'{path} is damaged ({error}): the last checkpoint of the search has its numbers; '
            'mmdynakd train goes on from there'
        ) from error
    write_theta(folder, history, list(_snapshots(folder, history[0].lane)))
    yield from (str(path) for path in sorted(Path(folder).glob('theta*.png')))


def _read_theta(path: str) -> list[ThetaPoint]:
    with open(path, encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ValueError('it has no rows')
    return [
        ThetaPoint(
            step=int(row.pop('step')),
            lane=row.pop('lane'),
            theta={teacher: float(value) for teacher, value in row.items()},
        )
        for row in rows
    ]


def _snapshots(folder: str, lane: str) -> Iterator[Candidate]:
    """The candidates that were taken along the way, those merged into others too."""
    if not _has(folder, CANDIDATES):
        return
    found = read_candidates(osp.join(folder, CANDIDATES))
    for candidate in (*found.candidates, *found.merged):
        if candidate.step is not None:
            yield structs.replace(candidate, lane=candidate.lane or lane)


def _study(folder: str) -> Iterator[str]:
    seeds = sorted(
        int(path.name[4:]) for path in Path(folder).glob('seed*') if path.name[4:].isdigit()
    )
    parts = [FIRST, LATER] if any(_has(folder, f'seed{seed}', LATER) for seed in seeds) else [FIRST]
    finished = [
        seed for seed in seeds if all(_has(folder, f'seed{seed}', part, RESULTS) for part in parts)
    ]
    if finished:
        metric = _metric(osp.join(folder, f'seed{finished[0]}'))
        runs = [joined(folder, seed, parts, metric) for seed in finished]
        yield write_comparison(folder, runs, metric)


def _teachers(folder: str) -> Iterator[str]:
    if _has(folder, TEACHERS):
        report = read(osp.join(folder, TEACHERS), TeacherReport, 'mmdynakd check teachers makes it')
        yield write_text(folder, 'teachers.md', teachers_table(report))


def _metric(folder: str) -> str:
    """The metric by which the run chose."""
    noted = read_run(folder)
    if noted is None:
        return METRIC
    cfg = Config(noted['config'], cfg_text=' ')
    import_custom(cfg)
    hook = search_hook(cfg)
    return METRIC if hook is None else str(hook.metric)


def _has(*parts: str) -> bool:
    return osp.exists(osp.join(*parts))
