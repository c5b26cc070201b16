"""Says how the runs stand: redrawn in a terminal, a line a change in a log."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TextIO

from mmdynakd.report.progress import FAILED, FINISHED, RUNNING, Row, progress_table, summary

from .plan import Run
from .progress import read_progress

EVERY = 60.0  # seconds between two summaries in a log


class Display:
    """Shows :func:`progress_table` on a stream.

    Args:
        runs: in their order.
        metric: shown of a finished run.
        out: a terminal, or anything else that is written to.
    """

    def __init__(self, runs: Sequence[Run], metric: str, out: TextIO) -> None:
        self.runs, self.metric, self.out = runs, metric, out
        self.start = time.time()
        self._lines, self._said, self._summed = 0, {}, 0.0
        self._finished: dict[str, float] = {}

    def show(self, failed: Mapping[str, str], notes: Mapping[str, str], last: bool = False) -> None:
        """Shows the state of now.

        Args:
            failed: why, by run.
            notes: the executor's, by run.
            last: the whole table, in a log too.
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
            iteration=noted['iteration'],
            iterations=noted['iterations'],
            epochs=noted['epochs'],
            note=note,
        )
        if noted['now'] < self.start:
            return row
        done = noted['iteration'] - noted['since']
        return replace(
            row,
            state=RUNNING,
            note=', '.join(filter(None, [f'{noted["host"]} {noted["pid"]}', note])),
            seconds=(noted['now'] - noted['start']) / done if done else None,
        )
