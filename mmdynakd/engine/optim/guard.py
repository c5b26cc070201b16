"""Steps whose loss or gradient is not finite are skipped, and nothing of them stays."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from mmengine.dist import all_reduce
from mmengine.optim import OptimWrapper
from torch import nn

MAX_SKIPPED = 10


@dataclass(frozen=True)
class Fault:
    """Why an entry's step is skipped.

    Attributes:
        loss: whether its loss is not finite, on one rank at least.
        gradient: the same of its gradient.
        parameters: those whose gradient is not finite on this rank.
    """

    loss: bool
    gradient: bool
    parameters: list[nn.Parameter]


class StepGuard:
    """Judges each step before the optimizers see it, and counts those that are skipped, by entry.

    It looks at the norm of each gradient (a gradient whose norm overflows is looked at closer),
    which every rank does alike, and reads one number a step from the device. With AMP's loss scaler
    the gradients are the scaler's to judge, which skips and lowers its scale; the loss is still
    judged here. Of accumulated batches one that is not finite spoils the step of them all.

    Args:
        max_skipped: steps of one entry skipped in a row after which a loop stops, see
            :class:`FaultReport`.

    Attributes:
        faults: of the last step, by entry.
        skipped: number of steps skipped, by entry.
        in_row: number of those since the last step that was taken.
    """

    def __init__(self, max_skipped: int = MAX_SKIPPED) -> None:
        if isinstance(max_skipped, bool) or not isinstance(max_skipped, int) or max_skipped < 1:
            raise ValueError(
                f'optim_wrapper.max_skipped must be an integer >= 1, or None, got {max_skipped!r}'
            )
        self.max_skipped = max_skipped
        self.faults: dict[str, Fault] = {}
        self.skipped, self.in_row = Counter(), Counter()
        self._spoiled: set[str] = (
            set()
        )  # entries that may not step until the next of their steps is over
        self._places: tuple[nn.Module | None, dict[str, list[tuple[nn.Module, str]]]] = None, {}
        self._copies: dict[str, list[torch.Tensor]] = {}

    @torch.no_grad()
    def watch(self, model: nn.Module, lanes: Mapping[str, nn.Module]) -> None:
        """Copies the lanes' buffers: what a forward pass may change for good (BatchNorm's
        statistics).
        """
        if self._places[0] is not model:
            self._places = model, {}
        places = self._places[1]
        for name, lane in lanes.items():
            if name not in places:
                places[name] = [
                    (m, key)
                    for m in lane.modules()
                    for key, b in m._buffers.items()
                    if b is not None
                ]
        self._copies = {name: _copied(_buffers(places[name])) for name in lanes}

    @torch.no_grad()
    def judge(
        self, losses: Mapping[str, torch.Tensor], entries: Mapping[str, OptimWrapper]
    ) -> dict[str, Fault]:
        """The faults of a step whose gradients are there, by entry; they are counted.

        Args:
            losses: scalar by entry.
            entries: all optim wrappers by name.
        """
        parameters = {name: _judged(entries[name]) for name in losses}
        self.faults = {} if _all_finite(losses, parameters) else _faults(losses, parameters)
        for name in set(self.faults) - self._spoiled:
            self.skipped[name] += 1
            self.in_row[name] += 1
            self._spoiled.add(name)
        return self.faults

    def may_step(self, name: str) -> bool:
        """Whether an entry whose turn has come may step."""
        if name in self._spoiled:
            self._spoiled.remove(name)
            return False
        self.in_row.pop(name, None)
        return True

    def undo(self, lane: str) -> None:
        """The lane's buffers as they were before the forward pass."""
        places = self._places[1].get(lane, [])
        for buffer, copy in zip(_buffers(places), self._copies.get(lane, [])):
            buffer.copy_(copy)

    def forget(self) -> None:
        self._copies = {}

    def state_dict(self) -> dict[str, list]:
        """What was counted, of entries that had a fault: a run without one saves nothing."""
        return {
            name: [count, self.in_row[name], name in self._spoiled]
            for name, count in self.skipped.items()
        }

    def load_state_dict(self, state: Mapping[str, list]) -> None:
        self.skipped = Counter({name: count for name, (count, _, _) in state.items()})
        self.in_row = Counter({name: row for name, (_, row, _) in state.items() if row})
        self._spoiled = {name for name, (_, _, spoiled) in state.items() if spoiled}


def _judged(entry: OptimWrapper) -> list[nn.Parameter]:
    """Parameters with a gradient, unless a loss scaler judges them."""
    if getattr(entry, 'loss_scaler', None) is not None:
        return []
    return [
        p
        for group in entry.optimizer.param_groups
        for p in group['params']
        if p.grad is not None and p.numel()
    ]


def _all_finite(
    losses: Mapping[str, torch.Tensor], parameters: Mapping[str, list[nn.Parameter]]
) -> bool:
    """Quickly: False is to be looked at closer."""
    gradients = [p.grad for own in parameters.values() for p in own]
    values = [loss.detach().float().reshape(()) for loss in losses.values()]
    values += [norm.float() for norm in torch._foreach_norm(gradients)] if gradients else []
    finite = torch.isfinite(torch.stack(values)).all().int()
    all_reduce(finite, op='min')
    return bool(finite)


def _faults(
    losses: Mapping[str, torch.Tensor], parameters: Mapping[str, list[nn.Parameter]]
) -> dict[str, Fault]:
    """Exactly, number by number."""
    bad = {
        name: [p for p in own if not torch.isfinite(p.grad).all()]
        for name, own in parameters.items()
    }
    flags = [[bool(torch.isfinite(loss).all()), not bad[name]] for name, loss in losses.items()]
    flags = torch.tensor(flags, dtype=torch.int32, device=next(iter(losses.values())).device)
    all_reduce(flags, op='min')
    return {
        name: Fault(not loss, not gradient, bad[name])
        for name, (loss, gradient) in zip(losses, flags.tolist())
        if not (loss and gradient)
    }


def _buffers(places: list[tuple[nn.Module, str]]) -> list[torch.Tensor]:
    return [module._buffers[key] for module, key in places]


def _copied(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Copies, in few kernels where there are many tensors of a type."""
    copies: list[torch.Tensor] = [None] * len(tensors)
    kinds: dict[torch.dtype, list[int]] = {}
    for place, tensor in enumerate(tensors):
        kinds.setdefault(tensor.dtype, []).append(place)
    for dtype, places in kinds.items():
        own = [tensors[place] for place in places]
        own = (
            [tensor.clone() for tensor in own]
            if dtype is torch.bool
            else torch._foreach_mul(own, 1)
        )
        for place, copy in zip(places, own):
            copies[place] = copy
    return copies
