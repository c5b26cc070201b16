"""Metrics that are read from the device once in an interval."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import LoggerHook
from mmengine.hooks import RuntimeInfoHook as _RuntimeInfoHook
from mmengine.runner import Runner

from mmdynakd.registry import HOOKS

INTERVAL = 10
HISTORY = 10_000


@HOOKS.register_module()
class RuntimeInfoHook(_RuntimeInfoHook):
    """MMEngine's hook, but metrics wait on the device and are read together.

    MMEngine's asks the device for every metric in every iteration. What the log says is the same,
    number by number.

    Args:
        interval: iterations after which waiting metrics are read; fewer where the logger reads more
            often. 1 is MMEngine's way.
        history: values of each metric that are kept, for means over a window. MMEngine keeps a
            million and copies them in every step, which slows a long run and swells its
            checkpoints.

    Raises:
        ValueError: ``interval`` or ``history`` < 1.

    Examples:
        In a config: ``default_hooks=dict(runtime_info=dict(type='mmdynakd.RuntimeInfoHook'))``.

        >>> hook = RuntimeInfoHook(interval=20)
        >>> hook.interval, hook.history
        (20, 10000)
    """

    def __init__(self, interval: int = INTERVAL, history: int = HISTORY) -> None:
        super().__init__()
        if interval < 1 or history < 1:
            raise ValueError(f'interval and history must be >= 1, got {interval} and {history}')
        self.interval, self.history = interval, history
        self._waiting: list[tuple[str, torch.Tensor]] = []

    def before_train(self, runner: Runner) -> None:
        """Make the interval fit those of the loggers."""
        super().before_train(runner)
        readers = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self.interval = math.gcd(self.interval, *readers)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Mapping[str, Any] | None = None,
    ) -> None:
        """Let the step's metrics wait, or read them if it is time."""
        self._waiting += [(f'train/{key}', value) for key, value in (outputs or {}).items()]
        if (
            self.every_n_train_iters(runner, self.interval)
            or self.every_n_inner_iters(batch_idx, self.interval)
            or self.end_of_epoch(runner.train_dataloader, batch_idx)
        ):
            self.flush(runner)

    def flush(self, runner: Runner) -> None:
        """Read what waits into the message hub, in one transfer for each device and type."""
        kinds: dict[tuple[torch.device, torch.dtype], list[int]] = {}
        values: dict[int, float] = {}
        for place, (_, value) in enumerate(self._waiting):
            if isinstance(value, torch.Tensor) and value.numel() == 1:
                kinds.setdefault((value.device, value.dtype), []).append(place)
        for places in kinds.values():
            read = torch.stack(
                [self._waiting[place][1].detach().reshape(()) for place in places]
            ).tolist()
            values.update(zip(places, read))
        for place, (key, value) in enumerate(self._waiting):
            runner.message_hub.update_scalar(key, values.get(place, value))
        self._waiting.clear()
        for buffer in runner.message_hub.log_scalars.values():
            buffer.max_length = self.history

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put metrics that wait into the checkpoint."""
        if self._waiting:
            self.flush(runner)
            checkpoint['message_hub'] = runner.message_hub.state_dict()


def flush(runner: Runner) -> None:
    """Bring a Runner's message hub up to date, for a reader between two intervals.

    Examples:
        >>> from types import SimpleNamespace
        >>> flush(SimpleNamespace(hooks=[]))
    """
    for hook in runner.hooks:
        if isinstance(hook, RuntimeInfoHook):
            hook.flush(runner)
