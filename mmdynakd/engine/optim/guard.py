"""Steps whose loss or gradient is not finite are skipped, and nothing of them stays."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from mmengine.dist import all_reduce
from mmengine.optim import OptimWrapper
from torch import nn

from mmdynakd.compat.torch_internals import copies, norms

MAX_SKIPPED = 10

Place = tuple[nn.Module, str]
"""A module and the name of one of its buffers."""


@dataclass(frozen=True)
class Fault:
    """Why an entry's step is skipped.

    Attributes:
        loss: whether its loss is not finite, on one rank at least.
        gradient: the same of its gradient.
        parameters: those whose gradient is not finite on this rank.

    Examples:
        >>> Fault(loss=True, gradient=False, parameters=[]).loss
        True
    """

    loss: bool
    gradient: bool
    parameters: list[nn.Parameter]


class StepGuard:
    """Judges each step before the optimizers see it, and counts those that are skipped, by entry.

    It looks at the norm of each gradient (more closely where a norm overflows), which every rank
    does alike, and reads one number a step from the device. With AMP's loss scaler the gradients
    are the scaler's to judge, which skips and lowers its scale; the loss is still judged here. If
    one of several accumulated batches is not finite, the step of them all is skipped.

    Args:
        max_skipped: steps of one entry skipped in a row after which a loop stops, see
            :class:`FaultReport`.

    Attributes:
        faults: of the last step, by entry.
        skipped: number of steps skipped, by entry.
        in_row: number of those since the last step that was taken.

    Raises:
        ValueError: ``max_skipped`` is not a positive integer.

    Examples:
        >>> layer = nn.Linear(1, 1)
        >>> entries = dict(search=OptimWrapper(torch.optim.SGD(layer.parameters(), lr=1)))
        >>> guard = StepGuard()
        >>> guard.judge(dict(search=torch.tensor(float('nan'))), entries)
        {'search': Fault(loss=True, gradient=False, parameters=[])}
        >>> guard.may_step('search'), dict(guard.skipped)
        (False, {'search': 1})
    """

    def __init__(self, max_skipped: int = MAX_SKIPPED) -> None:
        if isinstance(max_skipped, bool) or not isinstance(max_skipped, int) or max_skipped < 1:
            raise ValueError(
                f'optim_wrapper.max_skipped must be an integer >= 1, or None, got {max_skipped!r}'
            )
        self.max_skipped = max_skipped
        self.faults: dict[str, Fault] = {}
        self.skipped: Counter[str] = Counter()
        self.in_row: Counter[str] = Counter()
        # Entries that may not step until the next of their steps is over.
        self._spoiled: set[str] = set()
        self._places: tuple[nn.Module | None, dict[str, list[Place]]] = None, {}
        self._copies: dict[str, list[torch.Tensor]] = {}

    @torch.no_grad()
    def watch(self, model: nn.Module, lanes: Mapping[str, nn.Module]) -> None:
        """Copy the lanes' buffers, which a forward pass may change for good (BatchNorm's).

        Args:
            model: to which the lanes belong.
            lanes: by name.
        """
        if self._places[0] is not model:
            self._places = model, {}
        places = self._places[1]
        for name, lane in lanes.items():
            if name not in places:
                places[name] = [
                    (module, key)
                    for module in lane.modules()
                    for key, _ in module.named_buffers(recurse=False)
                ]
        self._copies = {name: copies(_buffers(places[name])) for name in lanes}

    @torch.no_grad()
    def judge(
        self, losses: Mapping[str, torch.Tensor], entries: Mapping[str, OptimWrapper]
    ) -> dict[str, Fault]:
        """The faults, by entry, of a step whose gradients are there; they are counted.

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
        """Set the lane's buffers back to what they were before the forward pass."""
        places = self._places[1].get(lane, [])
        for buffer, copy in zip(_buffers(places), self._copies.get(lane, [])):
            buffer.copy_(copy)

    def forget(self) -> None:
        """Drop the copies of buffers."""
        self._copies = {}

    def state_dict(self) -> dict[str, list[int]]:
        """What was counted, of entries that had a fault: a run without one saves nothing."""
        return {
            name: [count, self.in_row[name], name in self._spoiled]
            for name, count in self.skipped.items()
        }

    def load_state_dict(self, state: Mapping[str, Sequence[int]]) -> None:
        """Go on with what was counted when :meth:`state_dict` was saved."""
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


def _gradients(parameters: list[nn.Parameter]) -> list[torch.Tensor]:
    return [p.grad for p in parameters if p.grad is not None]


def _all_finite(
    losses: Mapping[str, torch.Tensor], parameters: Mapping[str, list[nn.Parameter]]
) -> bool:
    """A quick answer; False asks for a closer look."""
    gradients = [gradient for own in parameters.values() for gradient in _gradients(own)]
    values = [loss.detach().float().reshape(()) for loss in losses.values()]
    values += [norm.float() for norm in norms(gradients)]
    finite = torch.isfinite(torch.stack(values)).all().int()
    all_reduce(finite, op='min')
    return bool(finite)


def _faults(
    losses: Mapping[str, torch.Tensor], parameters: Mapping[str, list[nn.Parameter]]
) -> dict[str, Fault]:
    """The exact answer, number by number."""
    bad = {
        name: [p for p, gradient in zip(own, _gradients(own)) if not torch.isfinite(gradient).all()]
        for name, own in parameters.items()
    }
    own_flags = [[bool(torch.isfinite(loss).all()), not bad[name]] for name, loss in losses.items()]
    device = next(iter(losses.values())).device
    flags = torch.tensor(own_flags, dtype=torch.int32, device=device)
    all_reduce(flags, op='min')
    return {
        name: Fault(not loss, not gradient, bad[name])
        for name, (loss, gradient) in zip(losses, flags.tolist())
        if not (loss and gradient)
    }


def _buffers(places: list[Place]) -> list[torch.Tensor]:
    # Asked for by name each time: synchronised BatchNorm puts new tensors in the old one's place.
    return [getattr(module, key) for module, key in places]
