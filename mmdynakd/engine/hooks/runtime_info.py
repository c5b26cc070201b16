"""Metrics that are read from the device once an interval."""

import math

import torch
from mmengine.hooks import LoggerHook
from mmengine.hooks import RuntimeInfoHook as _RuntimeInfoHook
from mmengine.runner import Runner

from mmdynakd.registry import HOOKS

INTERVAL = 10
HISTORY = 10_000


@HOOKS.register_module()
class RuntimeInfoHook(_RuntimeInfoHook):
    """MMEngine's hook, which asks the device for every metric in every iteration; here they wait in
    a list.

    What the log says is the same, number by number. To be put in the place of MMEngine's:
    ``default_hooks=dict(runtime_info=dict(type='mmdynakd.RuntimeInfoHook'))``.

    Args:
        interval: iterations after which waiting metrics are read; made smaller where the logger
            reads more often. 1 is MMEngine's way.
        history: values of each metric that are kept, for means over a window. MMEngine's own keep a
            million, copied with every step: a long run would be slowed by it, and its checkpoints
            would swell.

    Raises:
        ValueError: for ``interval`` or ``history`` < 1.
    """

    def __init__(self, interval: int = INTERVAL, history: int = HISTORY) -> None:
        super().__init__()
        if interval < 1 or history < 1:
            raise ValueError(f'interval and history must be >= 1, got {interval} and {history}')
        self.interval, self.history = interval, history
        self._waiting: list[tuple[str, torch.Tensor]] = []

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        readers = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self.interval = math.gcd(self.interval, *readers)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        self._waiting += [(f'train/{key}', value) for key, value in (outputs or {}).items()]
        if (
            self.every_n_train_iters(runner, self.interval)
            or self.every_n_inner_iters(batch_idx, self.interval)
            or self.end_of_epoch(runner.train_dataloader, batch_idx)
        ):
            self.flush(runner)

    def flush(self, runner: Runner) -> None:
        """Reads what waits into the message hub, in one transfer a device and type."""
        kinds: dict[tuple, list[int]] = {}
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

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if self._waiting:
            self.flush(runner)
            checkpoint['message_hub'] = runner.message_hub.state_dict()


def flush(runner: Runner) -> None:
    """Brings the message hub up to date, for who reads it between two intervals."""
    for hook in runner.hooks:
        if isinstance(hook, RuntimeInfoHook):
            hook.flush(runner)
