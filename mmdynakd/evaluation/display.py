"""Shows how independent runs stand: redrawn in a terminal, a line per change in a log."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TextIO

from mmdynakd.report.progress import FAILED, FINISHED, RUNNING, Row, progress_table, summary

from .plan import Run
from .progress import read_progress

EVERY = 60.0  # seconds between two summaries in a log


class Display:
    """Shows a table of runs on a stream.

    Args:
        runs: in the order in which they are shown.
        metric: of val, shown of a finished run.
        out: a terminal, or any other text stream.

    Examples:
        >>> import sys
        >>> Display([], 'accuracy/top1', sys.stdout).show(failed={}, notes={}, last=True)
        run  state  val  left
        0 of 0 finished, 0 running
    """

    def __init__(self, runs: Sequence[Run], metric: str, out: TextIO) -> None:
        self.runs, self.metric, self.out = runs, metric, out
        self.start = time.time()
        self._lines, self._summed = 0, 0.0
        self._said: dict[str, tuple[str, str]] = {}
        self._finished: dict[str, float] = {}

    def show(self, failed: Mapping[str, str], notes: Mapping[str, str], last: bool = False) -> None:
        """Show the present state.

        Args:
            failed: why runs failed, by name.
            notes: the executor's, by name.
            last: show the whole table, even in a log.
        """
        rows = [self._row(run, failed, notes) for run in self.runs]
        if self.out.isatty():
            up = f'\x1b[{self._lines}F\x1b[J' if self._lines else ''
            table = progress_table(rows)
            self._lines = table.count('\n') + 1
            print(up + table, file=self.out, flush=True)
            return
        changed = [row for row in rows if self._said.get(row.name) != (row.state, row.note)]
        self._said = {row.name: (row.state, row.note) for row in rows}
        if last:
            print(progress_table(rows), file=self.out, flush=True)
        elif changed or time.time() - self._summed > EVERY:
            self._summed = time.time()
            for row in changed:
                print(
                    f'{row.name}: {row.doing}' + (f' ({row.note})' if row.note else ''),
                    file=self.out,
                )
            print(summary(rows), file=self.out, flush=True)

    def _row(self, run: Run, failed: Mapping[str, str], notes: Mapping[str, str]) -> Row:
        if run.name in failed:
            return Row(run.name, FAILED, note=failed[run.name])
        if run.name not in self._finished:
            results = run.results()
            if results is None:
                return self._unfinished(run, notes.get(run.name, ''))
            self._finished[run.name] = results.lanes[0].val[self.metric]
        return Row(run.name, FINISHED, val=self._finished[run.name])

    def _unfinished(self, run: Run, note: str) -> Row:
        noted = read_progress(run.folder)
        if noted is None:
            return Row(run.name, note=note)
        row = Row(
            run.name,
            iteration=noted.iteration,
            iterations=noted.iterations,
            epochs=noted.epochs,
            note=note,
        )
        if noted.now < self.start:  # by an earlier process
            return row
        return replace(
            row,
            state=RUNNING,
            note=', '.join(filter(None, [f'{noted.host} {noted.pid}', note])),
            seconds=noted.seconds_per_step,
        )
