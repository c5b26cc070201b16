"""One run: its Runner built, trained from where its work dir has got to, and finished."""

import contextlib
import errno
from collections.abc import Callable, Iterator
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmdynakd.diagnostics.tool import BEGUN, rank
from mmdynakd.workdir.checkpoints import newest_checkpoint
from mmdynakd.workdir.runs import NEWEST, RunError, begin, finish
from mmdynakd.workdir.untouched import left_alone_unless

from .processes import connected

UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


def train(cfg: Config, resume: str | None = None, fresh: bool = False) -> None:
    """Train what a config says, from where its work dir has got to.

    Args:
        cfg: of the whole run. MMEngine's checkpoint hook is replaced by ours.
        resume: see :func:`mmdynakd.workdir.runs.begin`.
        fresh: likewise.

    Raises:
        RunError: the work dir cannot take this run, or cannot be written to any longer.

    Examples:
        ``train(read_config('configs/dynakd_digits.py'))``, with its ``work_dir`` set.
    """
    hooks = cfg.setdefault('default_hooks', {})
    checkpoint = hooks.setdefault('checkpoint', dict(type='CheckpointHook', interval=1))
    if checkpoint is not None and checkpoint.get('type') == 'CheckpointHook':
        checkpoint.type = 'mmdynakd.CheckpointHook'  # the same, written whole or not at all
    if cfg.get('resume') and resume is None:
        resume = cfg.get('load_from') or NEWEST
    with connected(cfg), watched(cfg) as steps:
        if begin(cfg, resume, fresh):
            try:
                built(cfg, steps).train()
                finish(cfg)
            except OSError as error:
                if error.errno in UNWRITABLE:
                    raise RunError(
                        f'{error}. The last good state is left ({newest_checkpoint(cfg)}): make '
                        f'room in {cfg.work_dir}, then give the same command again'
                    ) from error
                raise


def run(cfg: Config, action: Callable[[Runner], object]) -> None:
    """Build the Runner of a config, and act on it.

    Examples:
        ``run(cfg, lambda runner: runner.test())``
    """
    with connected(cfg), watched(cfg) as steps:
        action(built(cfg, steps))


def built(cfg: Config, *hooks: Hook) -> Runner:
    """The Runner of a config, with hooks that only look on.

    Args:
        cfg: of the run.
        hooks: are not part of the config, since what the run computes does not depend on them.

    Examples:
        >>> import tempfile
        >>> from mmengine.registry import MODELS
        >>> from torch import nn
        >>> _ = MODELS.register_module('TinyLayer', force=True, module=nn.Linear)
        >>> model = dict(type='TinyLayer', in_features=1, out_features=1)
        >>> work = tempfile.mkdtemp()
        >>> steps = Steps()
        >>> steps in built(Config(dict(model=model, work_dir=work, log_level='ERROR')), steps).hooks
        True
    """
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook, 'LOWEST')
    return runner


class Steps(Hook):
    """Sees whether training has begun.

    Attributes:
        begun: True from the end of the first training step on.

    Examples:
        >>> steps = Steps()
        >>> steps.begun
        False
    """

    begun = False

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """A step has been taken."""
        self.begun = True

    def after_train(self, runner: Runner) -> None:
        """A search that was over before goes straight to its evaluation."""
        self.begun = True


@contextlib.contextmanager
def watched(cfg: Config) -> Iterator[Steps]:
    """Within it a failure before the first training step leaves the work dir as it was.

    A later failure is marked as such, for :func:`mmdynakd.diagnostics.tool.run_tool`.

    Examples:
        >>> with watched(Config(dict(work_dir='no/such/folder'))) as steps:
        ...     steps.begun
        False
    """
    steps = Steps()
    try:
        with left_alone_unless(lambda: steps.begun or rank() > 0, cfg):
            yield steps
    except Exception as error:
        setattr(error, BEGUN, steps.begun)
        raise
