"""From the results of independent runs to those of one evaluation."""

import logging
from collections.abc import Mapping
from typing import TextIO

from mmengine.logging import print_log

from mmdynakd.export.student import copy_student
from mmdynakd.report import seeds_summary, write_comparison
from mmdynakd.workdir.identity import config_hash

from .choice import best_seed, choose, rule
from .plan import Plan, Run
from .results import write_results


def collect(plan: Plan, runs: list[Run], out: TextIO | None = None) -> dict:
    """Chooses among the candidates and writes what a side-by-side evaluation writes, to the
    search's work dir.

    With one seed, ``results.json`` is that of the lanes side by side. With several it has a row a
    lane and seed, and ``summary`` with means and standard deviations; the candidate with the
    highest mean on val is chosen, and of its students that of the seed with the highest val is
    exported. ``comparison.md`` then compares it with the baselines.

    Args:
        plan: of the evaluation.
        runs: its runs, all of them finished.
        out: where the table is shown; by default nowhere.

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
    selected = choose(plan.candidates, val)
    seed = best_seed(plan.seeds, val[selected])
    for results in by_seed:
        results['selected'] = selected
    results = by_seed[0] if len(by_seed) == 1 else _joined(by_seed, plan, selected, seed)
    chosen = next(run for run in runs if (run.lane, run.seed) == (selected, seed))
    copy_student(chosen.folder, plan.results_dir)
    if len(by_seed) > 1:
        write_comparison(plan.results_dir, by_seed, plan.metric)
    said = write_results(plan.results_dir, results, plan.metric)
    if out is not None:
        print(said, file=out)
    return results


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
    return {
        **by_seed[0],
        'selected': selected,
        'selection': rule(plan.metric, len(by_seed)),
        'student_seed': best_seed,
        'seeds': plan.seeds,
        'lanes': rows,
        'summary': seeds_summary(rows, plan.metric),
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
