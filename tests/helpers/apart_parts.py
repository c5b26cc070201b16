"""What independent runs import by ``custom_imports``: they note, wait and fail as files say."""

import os
import time
from pathlib import Path

from mmengine.config import config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

if os.environ.get('APART_TEST') == 'quick':
    # MMEngine lays out each config it writes, which takes longer than a run.
    config.FormatCode = lambda text, **_: (text, True)

AT = 7  # of 10 iterations, 5 an epoch


@HOOKS.register_module()
class Told(Hook):
    """A run in ``runs/NAME`` of a folder does what files of that folder say.

    Before iteration 7, a run with ``hold_NAME`` notes its pid in ``held_NAME`` and waits until
    ``hold_NAME`` is gone; one with ``fail_NAME`` fails. ``starts_NAME`` gets a line a start, with
    the iteration, and ``ends_NAME`` a line an end.
    """

    def before_train(self, runner) -> None:
        self.folder = Path(runner.work_dir).parent
        self.told, self.name = self.folder.name == 'runs', Path(runner.work_dir).name
        self._note('starts', runner.iter)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if self.told and runner.iter == AT:
            if self._file('fail').exists():
                raise RuntimeError('told to fail')
            if self._file('hold').exists():
                self._note('held', os.getpid())
            while self._file('hold').exists():
                time.sleep(0.05)

    def after_run(self, runner) -> None:
        self._note('ends', runner.iter)

    def _file(self, what: str) -> Path:
        return self.folder.parent / f'{what}_{self.name}'

    def _note(self, what: str, value: int) -> None:
        if self.told:
            with open(self._file(what), 'a') as file:
                file.write(f'{value}\n')
