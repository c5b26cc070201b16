"""What the command-line tools share: arguments, the config, the Runner, with or without a GPU."""

import contextlib
import errno
from collections.abc import Callable, Iterator

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
    """Trains what the config says, from where its work dir has got to; see :func:`.runs.begin`."""
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
                        'room in '
                        f'{cfg.work_dir}, then give the same command again'
                    ) from error
                raise


def run(cfg: Config, action: Callable[[Runner], object]) -> None:
    """Builds the Runner and acts on it."""
    with connected(cfg), watched(cfg) as steps:
        action(built(cfg, steps))


def built(cfg: Config, *hooks: Hook) -> Runner:
    """The Runner of a config, and hooks that are no part of it: what it computes does not depend on
    them.
    """
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook, 'LOWEST')
    return runner


class Steps(Hook):
    """Sees whether training has begun."""

    begun = False

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        self.begun = True

    def after_train(self, runner: Runner) -> None:
        self.begun = True  # a search that was done before: its evaluation comes now


@contextlib.contextmanager
def watched(cfg: Config) -> Iterator[Steps]:
    """What fails within it before the first training step leaves the work dir as it was; what fails
    later is marked as such, for :func:`.tool.run_tool`.
    """
    steps = Steps()
    try:
        with left_alone_unless(lambda: steps.begun or rank() > 0, cfg):
            yield steps
    except Exception as error:
        setattr(error, BEGUN, steps.begun)
        raise
