"""The second stage, entered here by whoever needs it: a search, a command, a study."""

import os.path as osp
import sys
from typing import TextIO

from mmdynakd.values import Results, read_results

from .apart import run_apart
from .collect import collect
from .executors.base import Executor
from .plan import RESULTS, Plan
from .side_by_side import train_side_by_side


def evaluate(
    plan: Plan,
    executor: Executor | None = None,
    *,
    fresh: bool = False,
    out: TextIO | None = None,
    submit_only: bool = False,
) -> Results | None:
    """Train a student from scratch with each lane, choose one, test them, write the results.

    Whatever interrupts it: called again, it goes on where it stopped. What is finished is not
    trained again.

    Args:
        plan: the lanes and the rule of choice.
        executor: where each lane and seed is run by itself; None trains the lanes side by side in
            this process.
        fresh: side by side, starts over beside what is there.
        out: where the progress of independent runs is shown; by default standard output.
        submit_only: returns once the executor has the runs, with None unless all are finished.

    Returns:
        The results, as they are written.

    Raises:
        RunsFailedError: some independent runs failed; the results of the others are kept.
        RunError: side by side, the work dir holds something else or cannot be used.

    Examples:
        ``evaluate(read_plan('work_dirs/search', seeds=[0, 1, 2]), LocalExecutor(jobs=2)).selected``

        On the command line: ``mmdynakd evaluate work_dirs/search --seeds 0 1 2 --jobs 2``
    """
    if executor is None:
        train_side_by_side(plan, fresh)
        return read_results(osp.join(plan.results_dir, RESULTS), plan.metric)
    runs = run_apart(plan, executor, out or sys.stdout, submit_only)
    return None if runs is None else collect(plan, runs, out or sys.stdout)
