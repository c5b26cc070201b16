"""Common random numbers: a lane's course does not depend on its neighbours."""
import contextlib
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn


def _states() -> tuple:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    return torch.get_rng_state(), cuda


def _restore(states: tuple) -> None:
    torch.set_rng_state(states[0])
    if states[1] is not None:
        torch.cuda.set_rng_state_all(states[1])


def same_start(items: Iterable, action: Callable) -> list:
    """Runs ``action`` on each item from one random state, as if each were alone."""
    start, results = _states(), []
    for item in items:
        _restore(start)
        results.append(action(item))
    return results


def common_random_numbers(lanes: nn.ModuleDict) -> Iterator[tuple[str, contextlib.AbstractContextManager]]:
    """Yields ``(lane name, context)``; within it the lane sees the random numbers that it would see alone.

    States are copied only where a student draws any (Dropout, DropPath).
    """
    if len(lanes) == 1 or not any(_draws(lane) for lane in lanes.values()):
        yield from ((name, contextlib.nullcontext()) for name in lanes)
        return
    start = _states()
    for name in lanes:
        yield name, _from(start)


@contextlib.contextmanager
def _from(start: tuple) -> Iterator[None]:
    _restore(start)
    yield


def _draws(module: nn.Module) -> bool:
    return any(isinstance(m, nn.modules.dropout._DropoutNd) or type(m).__name__ == 'DropPath'
               for m in module.modules())
