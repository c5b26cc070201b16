"""Runs that are under way, as plain text."""

from collections.abc import Sequence
from dataclasses import dataclass

WAITING, RUNNING, FINISHED, FAILED = 'waiting', 'running', 'finished', 'FAILED'


@dataclass
class Row:
    """A run at one moment.

    Attributes:
        name: of the run.
        state: one of the four.
        iteration, iterations: done, of all; 0 of 0 where not known.
        epochs: in all.
        seconds: that an iteration takes, where known.
        val: its accuracy, once finished, in per cent.
        note: where it runs, or why it failed and the path of its log.
    """

    name: str
    state: str = WAITING
    iteration: int = 0
    iterations: int = 0
    epochs: int = 0
    seconds: float | None = None
    val: float | None = None
    note: str = ''

    @property
    def doing(self) -> str:
        """E.g. ``epoch 3 of 240``, ``iteration 70 of 900``, ``waiting, at epoch 3 of 240``,
        ``finished``.
        """
        if self.state in (FINISHED, FAILED) or not self.iterations:
            return self.state
        done, unit, whole = self.iteration, 'iteration', self.iterations
        if self.epochs > 1:
            done, unit, whole = (
                min(done * self.epochs // self.iterations + 1, self.epochs),
                'epoch',
                self.epochs,
            )
        return f'{"waiting, at " if self.state == WAITING else ""}{unit} {done} of {whole}'

    @property
    def left(self) -> float | None:
        """Seconds until its training ends."""
        return None if self.seconds is None else self.seconds * (self.iterations - self.iteration)


def progress_table(rows: Sequence[Row]) -> str:
    """A line a run, and a last one with what is left in all."""
    cells = [('run', 'state', 'val', 'left', '')]
    for row in rows:
        left = _clock(row.left) if row.state == RUNNING else ''
        cells.append(
            (row.name, row.doing, '' if row.val is None else f'{row.val:.2f}', left, row.note)
        )
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = [
        '  '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells
    ]
    return '\n'.join([*lines, summary(rows)])


def summary(rows: Sequence[Row]) -> str:
    """E.g. ``3 of 7 finished, 2 running, 1 failed; about 0:40:00 left``."""
    counts = {
        state: sum(row.state == state for row in rows) for state in (FINISHED, RUNNING, FAILED)
    }
    text = f'{counts[FINISHED]} of {len(rows)} finished, {counts[RUNNING]} running'
    text += f', {counts[FAILED]} failed' if counts[FAILED] else ''
    left = remaining(rows)
    return text if left is None else f'{text}; about {_clock(left)} left'


def remaining(rows: Sequence[Row]) -> float | None:
    """Seconds until all runs have ended, if as many go on at a time as now; None where nothing is
    known yet.

    A run that has not started takes what those that have take on average; no fewer than the longest
    one alone.
    """
    known = [row for row in rows if row.seconds is not None]
    running = [row for row in rows if row.state == RUNNING and row.left is not None]
    if not known or not running:
        return None
    seconds = sum(row.seconds for row in known) / len(known)
    whole = max(row.iterations for row in known)
    work = [
        row.left if row.left is not None else seconds * ((row.iterations or whole) - row.iteration)
        for row in rows
        if row.state in (RUNNING, WAITING)
    ]
    return max(sum(work) / len(running), *work)


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return ''
    minutes, seconds = divmod(round(seconds), 60)
    return f'{minutes // 60}:{minutes % 60:02d}:{seconds:02d}'
