"""Draws from Cat(θ) as a pure function of (seed, step): equal on every rank and after every resume."""
from collections.abc import Sequence

import numpy as np


def uniform(seed: int, step: int) -> float:
    """The uniform number u_t in [0, 1) of step ``step``: the first output of Philox keyed by ``seed``.

    A counter-based generator has no state to keep: nothing to save, to broadcast or to rewind. Lanes that share
    ``seed`` share u_t (common random numbers).
    """
    if seed < 0 or step < 0:
        raise ValueError(f'seed and step must be >= 0, got seed={seed}, step={step}')
    raw = int(np.random.Philox(key=seed, counter=step).random_raw())
    return (raw >> 11) * 2.0**-53


def invert_cdf(probs: Sequence[float], u: float) -> int:
    """Index drawn from Cat(``probs``) by the inverse CDF at ``u`` in [0, 1); never one of probability 0."""
    probs = np.asarray(probs, dtype=np.float64)
    cdf = np.cumsum(probs)
    index = int(np.searchsorted(cdf, u * cdf[-1], side='right'))
    return min(index, int(np.flatnonzero(probs)[-1]))
