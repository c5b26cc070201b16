"""How far a run has got: the run notes it in its folder, and whoever waits reads it there."""

import os
import os.path as osp
import time
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdynakd.errors import UserError
from mmdynakd.values import Value, read, write

PROGRESS = 'progress.json'
INTERVAL = 2.0  # seconds between two notes


class Progress(Value, frozen=True, kw_only=True):
    """How far a run has got.

    Attributes:
        iteration: training steps done.
        iterations: training steps in all.
        epochs: in all.
        since: ``iteration`` when this process began.
        start: when that was, in seconds since 1970.
        now: when this was noted, in seconds since 1970.
        host: name of the machine.
        pid: of the process.

    Examples:
        >>> noted = Progress(
        ...     iteration=30, iterations=90, epochs=3, since=10, start=0, now=40, host='a', pid=1
        ... )
        >>> noted.seconds_per_step
        2.0
    """

    iteration: int
    iterations: int
    epochs: int
    since: int
    start: float
    now: float
    host: str
    pid: int

    @property
    def seconds_per_step(self) -> float | None:
        """Mean over the steps of this process; None before its first."""
        done = self.iteration - self.since
        return (self.now - self.start) / done if done else None


class ProgressHook(Hook):
    """Notes a run's progress in its work dir, every few seconds.

    One process of a run has it; it is not part of the run's config.

    Examples:
        >>> from mmengine.registry import HOOKS
        >>> ProgressHook().priority  # added by Runner.register_hook
        'NORMAL'
    """

    def before_train(self, runner: Runner) -> None:
        """Notes where this process begins."""
        self.since, self.start = runner.iter, time.time()
        self._note(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Notes a step, if the last note is some seconds old."""
        if time.time() - self.noted > INTERVAL:
            self._note(runner, 1)

    def after_train_epoch(self, runner: Runner) -> None:
        """Notes the end of an epoch."""
        self._note(runner)

    def _note(self, runner: Runner, more: int = 0) -> None:
        self.noted = time.time()
        noted = Progress(
            iteration=runner.iter + more,
            iterations=runner.max_iters,
            epochs=runner.max_epochs,
            since=self.since,
            start=self.start,
            now=self.noted,
            host=os.uname().nodename,
            pid=os.getpid(),
        )
        write(runner.work_dir, PROGRESS, noted)


def read_progress(folder: str) -> Progress | None:
    """Read what a run in ``folder`` last noted; None if nothing.

    Examples:
        >>> read_progress('no such folder') is None
        True
    """
    try:
        return read(osp.join(folder, PROGRESS), Progress, 'it is written again')
    except UserError:
        return None
