"""Runs that are under way, as plain text."""

from collections.abc import Sequence
from dataclasses import dataclass

WAITING, RUNNING, FINISHED, FAILED = 'waiting', 'running', 'finished', 'FAILED'


@dataclass(frozen=True)
class Row:
    """A run at one moment.

    Attributes:
        name: of the run.
        state: ``WAITING``, ``RUNNING``, ``FINISHED`` or ``FAILED``.
        iteration: training iterations done.
        iterations: in all; 0 where not known.
        epochs: in all.
        seconds: that an iteration takes; None where not known.
        val: accuracy on val in per cent; None until it is finished.
        note: where it runs, or why it failed and the path of its log.

    Examples:
        >>> row = Row('cat1-seed0', RUNNING, iteration=120, iterations=480, epochs=240, seconds=2.0)
        >>> row.doing, row.left
        ('epoch 61 of 240', 720.0)
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
        """Its state, and how far it is, such as ``waiting, at epoch 3 of 240``."""
        if self.state in (FINISHED, FAILED) or not self.iterations:
            return self.state
        waiting = 'waiting, at ' if self.state == WAITING else ''
        if self.epochs <= 1:
            return f'{waiting}iteration {self.iteration} of {self.iterations}'
        epoch = min(self.iteration * self.epochs // self.iterations + 1, self.epochs)
        return f'{waiting}epoch {epoch} of {self.epochs}'

    @property
    def left(self) -> float | None:
        """Seconds until its training ends; None where not known."""
        return None if self.seconds is None else self.seconds * (self.iterations - self.iteration)


def progress_table(rows: Sequence[Row]) -> str:
    """Makes a line for each run, and a last one with what is left in all.

    Examples:
        >>> print(progress_table([Row('a', FINISHED, val=71.234), Row('b')]))
        run  state     val    left
        a    finished  71.23
        b    waiting
        1 of 2 finished, 0 running
    """
    cells = [('run', 'state', 'val', 'left', '')]
    for row in rows:
        val = '' if row.val is None else f'{row.val:.2f}'
        left = _clock(row.left) if row.state == RUNNING else ''
        cells.append((row.name, row.doing, val, left, row.note))
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = [
        '  '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells
    ]
    return '\n'.join([*lines, summary(rows)])


def summary(rows: Sequence[Row]) -> str:
    """Counts the runs by state, and says how long the rest takes.

    Examples:
        >>> summary([Row('a', FINISHED), Row('b', RUNNING, 100, 200, seconds=2.0)])
        '1 of 2 finished, 1 running; about 0:03:20 left'
    """
    counts = {
        state: sum(row.state == state for row in rows) for state in (FINISHED, RUNNING, FAILED)
    }
    text = f'{counts[FINISHED]} of {len(rows)} finished, {counts[RUNNING]} running'
    text += f', {counts[FAILED]} failed' if counts[FAILED] else ''
    left = remaining(rows)
    return text if left is None else f'{text}; about {_clock(left)} left'


def remaining(rows: Sequence[Row]) -> float | None:
    """Estimates the seconds until all runs have ended, if as many run at a time as do now.

    A run that has not started is taken to need the average of those that have. The estimate is
    never below what the longest run needs.

    Returns:
        Seconds, or None while no run has a known speed.

    Examples:
        >>> remaining([Row('a', RUNNING, 100, 200, seconds=2.0), Row('b')])
        600.0
        >>> remaining([Row('a')]) is None
        True
    """
    speeds = [row.seconds for row in rows if row.seconds is not None]
    running = [row for row in rows if row.state == RUNNING and row.left is not None]
    if not speeds or not running:
        return None
    seconds = sum(speeds) / len(speeds)
    whole = max(row.iterations for row in rows if row.seconds is not None)
    work = [
        row.left if row.left is not None else seconds * ((row.iterations or whole) - row.iteration)
        for row in rows
        if row.state in (RUNNING, WAITING)
    ]
    return max(sum(work) / len(running), *work)


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return ''
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes // 60}:{minutes % 60:02d}:{rest:02d}'
