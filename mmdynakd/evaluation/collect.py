"""From the results of independent runs to those of one evaluation."""

import logging
import os.path as osp
import statistics
from collections.abc import Mapping

from mmengine.logging import print_log

from mmdynakd.export.student import copy_student
from mmdynakd.files import read_json, write_text
from mmdynakd.report import results_table, seeds_summary, write_comparison
from mmdynakd.values import LaneResult, Results, plain, typed, write
from mmdynakd.workdir.identity import config_hash

from .plan import RESULTS, Plan, Run


def collect(plan: Plan, runs: list[Run]) -> dict:
    """Chooses among the candidates and writes what a side-by-side evaluation writes, to the
    search's work dir.

    With one seed, ``results.json`` is that of the lanes side by side. With several it has a row a
    lane and seed, and ``summary`` with means and standard deviations; the candidate with the
    highest mean on val is chosen, and of its students that of the seed with the highest val is
    exported. ``comparison.md`` then compares it with the baselines.

    Args:
        plan: of the evaluation.
        runs: its runs, all of them finished.

    Returns:
        The content of ``results.json``.
    """
    found = {(run.lane, run.seed): run.results() for run in runs}
    _warn_of_versions(found)
    roles = {run.lane: run.role for run in runs}
    by_seed = [_as_side_by_side(plan, roles, found, seed) for seed in plan.seeds]
    val = {
        lane: [found[lane, seed]['lanes'][0]['val'][plan.metric] for seed in plan.seeds]
        for lane in plan.lanes
    }
    selected = max(
        plan.candidates, key=lambda lane: statistics.fmean(val[lane])
    )  # the first of equals, as ResultsHook
    best_seed = plan.seeds[val[selected].index(max(val[selected]))]
    for results in by_seed:
        results['selected'] = selected
    results = by_seed[0] if len(by_seed) == 1 else _joined(by_seed, plan, selected, best_seed)
    chosen = next(run for run in runs if (run.lane, run.seed) == (selected, best_seed))
    copy_student(chosen.folder, plan.results_dir)
    if len(by_seed) > 1:
        runs_by_seed = [typed(one, Results) for one in by_seed]
        write_comparison(plan.results_dir, runs_by_seed, plan.metric)
    joined = typed(results, Results)
    write_text(plan.results_dir, 'results.md', results_table(joined, plan.metric))
    return read_json(write(plan.results_dir, RESULTS, joined))


def _as_side_by_side(plan: Plan, roles: Mapping[str, str], found: Mapping, seed: int) -> dict:
    """The results of one seed, as ResultsHook writes them of lanes in one run."""
    rows = [dict(found[lane, seed]['lanes'][0]) for lane in plan.lanes]
    for row in rows:
        row['role'] = roles[row['name']] if row['selection'] is not None else 'baseline'
    devices = dict.fromkeys(found[lane, seed]['device'] for lane in plan.lanes)
    first = found[next(iter(plan.lanes)), seed]
    return {
        **first,
        'device': ', '.join(devices),
        'config_sha256': config_hash(plan.side_by_side(seed)),
        'lanes': rows,
    }


def _joined(by_seed: list[dict], plan: Plan, selected: str, best_seed: int) -> dict:
    rows = [dict(row, seed=results['seed']) for results in by_seed for row in results['lanes']]
    selection = (
        f'highest val {plan.metric} of the last epoch, mean over {len(by_seed)} seeds, among the '
        'candidates; '
        'test seen once a student, after its training'
    )
    return {
        **by_seed[0],
        'selected': selected,
        'selection': selection,
        'student_seed': best_seed,
        'seeds': plan.seeds,
        'lanes': rows,
        'summary': plain(seeds_summary([typed(row, LaneResult) for row in rows], plan.metric)),
    }


def _warn_of_versions(found: Mapping) -> None:
    versions = {
        name: sorted({str(results['versions'].get(name)) for results in found.values()})
        for results in found.values()
        for name in results['versions']
    }
    differing = [
        f'{name} {", ".join(values)}' for name, values in versions.items() if len(values) > 1
    ]
    if differing:
        print_log(
            f'the runs had different versions of {"; ".join(differing)}: they are not strictly '
            'comparable',
            'current',
            logging.WARNING,
        )


def paths(plan: Plan) -> str:
    return f'results: {osp.join(plan.results_dir, RESULTS)}\nstudent: {osp.join(plan.results_dir, "student.pth")}'
