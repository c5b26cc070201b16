"""The lanes of a plan as independent runs, on an executor."""

import os
import os.path as osp
import re
import time
from collections.abc import Sequence
from typing import TextIO

from mmdynakd.errors import UserError
from mmdynakd.workdir.runs import set_aside

from .display import Display
from .executors.base import Executor, Job
from .plan import Plan, Run
from .worker import LOG, assign, assigned, command

# the last line of a traceback
ERROR = re.compile(r'(?:\[rank\d+\]: )?((?:\w+\.)*\w+(?:Error|Exception): .*)')


class RunsFailedError(UserError):
    """Some runs did not finish; the message names each, with its log."""


def run_apart(
    plan: Plan, executor: Executor, out: TextIO, submit_only: bool = False
) -> list[Run] | None:
    """Do the runs of a plan that are not finished.

    Args:
        plan: of the evaluation.
        executor: where the runs are done.
        out: where progress is shown.
        submit_only: returns once the executor has the runs.

    Returns:
        All runs of the plan, finished; None where they were only submitted.

    Raises:
        RunsFailedError: some failed; the results of the others are kept.

    Examples:
        ``run_apart(read_plan('work_dirs/search'), LocalExecutor(jobs=2), sys.stdout)``
    """
    runs = plan.runs()
    open_runs = {run.name: run for run in runs if run.results() is None}
    if not open_runs:
        return runs
    _prepare(list(open_runs.values()))
    failed: dict[str, str] = {}
    try:
        executor.start([_job(run, plan, executor) for run in open_runs.values()])
        if not submit_only:
            failed = _watch(runs, open_runs, executor, Display(runs, plan.metric, out))
    finally:
        said = executor.stop()
        if said:
            print(said, file=out)
    if failed:
        raise RunsFailedError(
            f'{len(failed)} of {len(runs)} runs failed; the results of the others are kept:\n'
            + '\n'.join(f'  {name}: {why}' for name, why in failed.items())
        )
    return None if submit_only else runs


def _prepare(runs: Sequence[Run]) -> None:
    """Write the assignments; a folder that holds another run is set aside, not continued."""
    for run in runs:
        before = assigned(run.folder)
        if before is not None and before.config_sha256 == run.config_sha256:
            continue
        if osp.exists(run.folder):
            set_aside(run.folder)
        os.makedirs(run.folder, exist_ok=True)
        assign(run)


def _job(run: Run, plan: Plan, executor: Executor) -> Job:
    return Job(
        run.name,
        command(run, plan.processes, executor.tied),
        os.getcwd(),
        osp.join(run.folder, LOG),
    )


def _watch(
    runs: Sequence[Run], open_runs: dict[str, Run], executor: Executor, display: Display
) -> dict[str, str]:
    """Wait until all have ended; return why some failed, by name."""
    failed: dict[str, str] = {}
    ended: dict[str, tuple[float, str | None]] = {}
    waiting = list(open_runs)
    while waiting:
        ended.update({name: (time.monotonic(), why) for name, why in executor.poll().items()})
        for name in [name for name in waiting if name in ended]:
            since, why = ended[name]
            finished = open_runs[name].results() is not None
            if finished or why or time.monotonic() - since >= executor.grace:
                waiting.remove(name)
                if not finished:
                    failed[name] = _reason(open_runs[name], why, executor.notes.get(name))
        display.show(failed, executor.notes, last=not waiting)
        if waiting:
            time.sleep(executor.interval)
    return failed


def _reason(run: Run, why: str | None, note: str | None) -> str:
    log = osp.join(run.folder, LOG)
    text = _read(log) if osp.exists(log) else ''
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [found.group(1) for found in map(ERROR.match, lines) if found]
    last = (errors or lines or [note or 'no output'])[-1]
    return f'{why or "it ended without results"}: {last[:300]} (log {log})'


def _read(path: str) -> str:
    with open(path, encoding='utf-8', errors='replace') as file:
        return file.read()
