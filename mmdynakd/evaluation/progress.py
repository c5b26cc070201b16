"""How far a run has got: noted by the run in its folder, read from there by whoever waits for it."""

import json
import os
import os.path as osp
import time
from collections.abc import Mapping

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdynakd.files import write_json

PROGRESS = 'progress.json'
INTERVAL = 2.0  # seconds between two notes


class ProgressHook(Hook):
    """Notes the iteration in ``progress.json`` of the work dir, every few seconds; one process of a
    run has it.
    """

    def before_train(self, runner: Runner) -> None:
        self.since, self.start = runner.iter, time.time()
        self._note(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        if time.time() - self.noted > INTERVAL:
            self._note(runner, 1)

    def after_train_epoch(self, runner: Runner) -> None:
        self._note(runner)

    def _note(self, runner: Runner, more: int = 0) -> None:
        self.noted = time.time()
        write_json(
            runner.work_dir,
            PROGRESS,
            dict(
                iteration=runner.iter + more,
                iterations=runner.max_iters,
                epochs=runner.max_epochs,
                since=self.since,
                start=self.start,
                now=self.noted,
                host=os.uname().nodename,
                pid=os.getpid(),
            ),
        )


def read_progress(folder: str) -> Mapping | None:
    """What a run in ``folder`` last noted; None if nothing."""
    try:
        with open(osp.join(folder, PROGRESS), encoding='utf-8') as file:
            return json.load(file)
    except (OSError, ValueError):
        return None
