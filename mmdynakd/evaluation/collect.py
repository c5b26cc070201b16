"""From the results of independent runs to those of one evaluation."""

import logging
from collections.abc import Mapping, Sequence
from typing import TextIO

from mmengine.logging import print_log
from msgspec import structs

from mmdynakd.export.student import copy_student
from mmdynakd.report import seeds_summary, write_comparison
from mmdynakd.values import LaneResult, Results
from mmdynakd.workdir.identity import config_hash

from .choice import best_seed, choose, rule
from .plan import Plan, Run
from .results import write_results

Found = Mapping[tuple[str, int], Results]  # by lane and seed


def collect(plan: Plan, runs: Sequence[Run], out: TextIO | None = None) -> Results:
    """Choose among the candidates, and write what an evaluation side by side writes.

    With one seed, ``results.json`` is that of the lanes side by side. With several it has a row per
    lane and seed, and ``summary`` with means and standard deviations; the candidate with the
    highest mean on val is chosen, and its student with the highest val is exported.
    ``comparison.md`` then compares it with the baselines.

    Args:
        plan: of the evaluation.
        runs: its runs, all of them finished.
        out: where the table is shown; by default nowhere.

    Examples:
        ``collect(plan, plan.runs()).selected``, once all runs are finished
    """
    found = {(run.lane, run.seed): _results(run) for run in runs}
    _warn_of_versions(list(found.values()))
    val = {
        lane: [found[lane, seed].lanes[0].val[plan.metric] for seed in plan.seeds]
        for lane in plan.lanes
    }
    selected = choose(plan.candidates, val)
    seed = best_seed(plan.seeds, val[selected])
    by_seed = [_as_side_by_side(plan, found, selected, number) for number in plan.seeds]
    results = by_seed[0] if len(by_seed) == 1 else _joined(by_seed, plan, seed)
    chosen = next(run for run in runs if (run.lane, run.seed) == (selected, seed))
    copy_student(chosen.folder, plan.results_dir)
    if len(by_seed) > 1:
        write_comparison(plan.results_dir, by_seed, plan.metric)
    said = write_results(plan.results_dir, results, plan.metric)
    if out is not None:
        print(said, file=out)
    return results


def _results(run: Run) -> Results:
    results = run.results()
    if results is None:
        raise RuntimeError(f'{run.name} is not finished')
    return results


def _as_side_by_side(plan: Plan, found: Found, selected: str, seed: int) -> Results:
    """The results of one seed, as ``ResultsHook`` writes them of lanes in one run."""
    own = [found[lane, seed] for lane in plan.lanes]
    return structs.replace(
        own[0],
        selected=selected,
        device=', '.join(dict.fromkeys(results.device for results in own)),
        config_sha256=config_hash(plan.side_by_side(seed)),
        lanes=tuple(_row(plan, results.lanes[0]) for results in own),
    )


def _row(plan: Plan, row: LaneResult) -> LaneResult:
    competes = row.name in plan.candidates and row.selection is not None
    return structs.replace(row, role='candidate' if competes else 'baseline')


def _joined(by_seed: Sequence[Results], plan: Plan, student_seed: int) -> Results:
    rows = tuple(
        structs.replace(row, seed=results.seed) for results in by_seed for row in results.lanes
    )
    return structs.replace(
        by_seed[0],
        selection=rule(plan.metric, len(by_seed)),
        student_seed=student_seed,
        seeds=tuple(plan.seeds),
        lanes=rows,
        summary=tuple(seeds_summary(rows, plan.metric)),
    )


def _warn_of_versions(found: Sequence[Results]) -> None:
    names = dict.fromkeys(name for results in found for name in results.versions)
    versions = {
        name: sorted({str(results.versions.get(name)) for results in found}) for name in names
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
