"""Evaluates the candidates of a search as independent runs, on an engine."""

import os
import os.path as osp
import re
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from mmdynakd.errors import UserError
from mmdynakd.workdir.runs import set_aside

from .collect import collect, paths
from .display import Display
from .executors.base import Engine, Job
from .plan import Plan, Run
from .worker import LOG, assign, assigned, command

ERROR = re.compile(
    r'(?:\[rank\d+\]: )?((?:\w+\.)*\w+(?:Error|Exception): .*)'
)  # the last line of a traceback


class RunsFailed(UserError):
    """Some runs came to no end; the message names each with its log."""


def evaluate(
    plan: Plan, engine: Engine, out: TextIO | None = None, submit_only: bool = False
) -> dict | None:
    """Does the runs of a plan that are not finished, and collects the results of all.

    Whatever interrupts it: called again, it goes on where it stopped. No run is trained to its end
    twice.

    Args:
        plan: of :func:`make_plan`.
        engine: where the runs are done.
        out: where progress is shown; by default standard output.
        submit_only: returns once the engine has the runs, with None unless all are finished.

    Returns:
        See :func:`collect`.

    Raises:
        RunsFailed: if some failed; the results of the others are kept.
    """
    out, runs = out or sys.stdout, plan.runs()
    open_runs = {run.name: run for run in runs if run.results() is None}
    if open_runs:
        _prepare(list(open_runs.values()))
        try:
            engine.start([_job(run, plan, engine) for run in open_runs.values()])
            failed = (
                {}
                if submit_only
                else _watch(runs, open_runs, engine, Display(runs, plan.metric, out))
            )
        finally:
            said = engine.stop()
            if said:
                print(said, file=out)
        if submit_only:
            return None
        if failed:
            raise RunsFailed(
                f'{len(failed)} of {len(runs)} runs failed; the results of the others are kept:\n'
                + '\n'.join(f'  {name}: {why}' for name, why in failed.items())
            )
    results = collect(plan, runs)
    print(f'{_read(osp.join(plan.results_dir, "results.md"))}\n{paths(plan)}', file=out)
    return results


def _prepare(runs: Sequence[Run]) -> None:
    """Writes the assignments; a folder that holds another run is set aside, so that nothing of it
    is gone on with.
    """
    for run in runs:
        before = assigned(run.folder)
        if before is not None and before[1] == run.config_sha256:
            continue
        if osp.exists(run.folder):
            set_aside(run.folder)
        os.makedirs(run.folder, exist_ok=True)
        assign(run)


def _job(run: Run, plan: Plan, engine: Engine) -> Job:
    return Job(
        run.name, command(run, plan.processes, engine.tied), os.getcwd(), osp.join(run.folder, LOG)
    )


def _watch(
    runs: Sequence[Run], open_runs: dict[str, Run], engine: Engine, display: Display
) -> dict[str, str]:
    """Waits for the end of all; returns why some failed, by name."""
    failed: dict[str, str] = {}
    ended: dict[str, tuple[float, str | None]] = {}
    waiting = list(open_runs)
    while waiting:
        ended.update({name: (time.monotonic(), why) for name, why in engine.poll().items()})
        for name in [name for name in waiting if name in ended]:
            since, why = ended[name]
            finished = open_runs[name].results() is not None
            if finished or why or time.monotonic() - since >= engine.grace:
                waiting.remove(name)
                if not finished:
                    failed[name] = _reason(open_runs[name], why, engine.notes.get(name))
        display.show(failed, engine.notes, last=not waiting)
        if waiting:
            time.sleep(engine.interval)
    return failed


def _reason(run: Run, why: str | None, note: str | None) -> str:
    log = osp.join(run.folder, LOG)
    lines = (
        [line.strip() for line in _read(log).splitlines() if line.strip()]
        if osp.exists(log)
        else []
    )
    errors = [found.group(1) for found in map(ERROR.match, lines) if found]
    last = (errors or lines or [note or 'no output'])[-1]
    return f'{why or "it ended without results"}: {last[:300]} (log {log})'


def _read(path: str) -> str:
    with open(path, encoding='utf-8', errors='replace') as file:
        return file.read()
