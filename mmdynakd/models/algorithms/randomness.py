"""Common random numbers: a lane's course does not depend on its neighbours."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
import torch
from mmengine.dist import get_rank

Item = TypeVar('Item')
Result = TypeVar('Result')


def same_start(items: Iterable[Item], action: Callable[[Item], Result]) -> list[Result]:
    """Run ``action`` on each item from the same random state, and leave that state as it was.

    So each item's result is the one that it would have without the others.

    Args:
        items: What to run on.
        action: It may draw from torch's CPU generator.

    Returns:
        The results in order.

    Examples:
        >>> first, second = same_start('ab', lambda item: torch.rand(1))
        >>> torch.equal(first, second)
        True
    """
    start = torch.get_rng_state()
    results = []
    for item in items:
        torch.set_rng_state(start)
        results.append(action(item))
    torch.set_rng_state(start)
    return results


def seed_step(seed: int, step: int) -> None:
    """Seed what a student or a connector may draw in a forward pass (Dropout, masks).

    It is called before each lane's forward pass, so a lane sees the same numbers beside others as
    on its own. Each rank has numbers of its own.

    Args:
        seed: Of the run's draws.
        step: The lower step, from 0.

    Examples:
        >>> seed_step(seed=0, step=7)
        >>> first = torch.rand(1)
        >>> seed_step(seed=0, step=7)
        >>> torch.equal(first, torch.rand(1))
        True
    """
    torch.manual_seed(
        int(np.random.SeedSequence([seed, step, get_rank()]).generate_state(1, np.uint64)[0])
    )
