"""Common random numbers: a lane's course does not depend on its neighbours."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from mmengine.dist import get_rank


def same_start(items: Iterable, action: Callable) -> list:
    """Runs ``action`` on each item from one random state, as if each were alone; the state is left
    as it was.
    """
    start = torch.get_rng_state()
    results = []
    for item in items:
        torch.set_rng_state(start)
        results.append(action(item))
    torch.set_rng_state(start)
    return results


def seed_step(seed: int, step: int) -> None:
    """Seeds what a student or a connector may draw in a forward (Dropout, masks) by (seed, step,
    rank).

    Called before each lane's forward, so that a lane sees the same numbers beside others as alone.
    """
    torch.manual_seed(
        int(np.random.SeedSequence([seed, step, get_rank()]).generate_state(1, np.uint64)[0])
    )
