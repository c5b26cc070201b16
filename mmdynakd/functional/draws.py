"""Draws from Cat(θ) as a pure function of (seed, step): equal on every rank and after every resume."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .philox import HALF, WORD, philox4x32

SAMPLES, GUMBEL, SUBSET, VIEWS = (
    1,
    2,
    3,
    4,
)  # streams of further numbers, each apart from u_t and from the others


def uniform(seed: int, step: int) -> float:
    """The uniform number u_t in [0, 1) of step ``step``: the first output of Philox keyed by
    ``seed``.

    A counter-based generator has no state to keep: nothing to save, to broadcast or to rewind.
    Lanes that share ``seed`` share u_t (common random numbers).
    """
    _check(seed, step)
    raw = int(np.random.Philox(key=seed, counter=step).random_raw())
    return (raw >> 11) * 2.0**-53


def uniforms(seed: int, step: int, count: int, stream: int) -> np.ndarray:
    """``count`` further uniform numbers in [0, 1) of step ``step``; (count,) float64.

    Philox counts through the lowest word of its counter, so the step is in the second and the
    stream in the fourth: no two steps or streams share a number.
    """
    _check(seed, step)
    if stream < 1:
        raise ValueError(f'stream must be >= 1, got {stream}')
    raw = np.random.Philox(key=seed, counter=(step << 64) | (stream << 192)).random_raw(count)
    return (raw >> np.uint64(11)) * 2.0**-53


def view_uniforms(seed: int, ids: np.ndarray, columns: int) -> np.ndarray:
    """Uniform numbers in [0, 1) for views of samples, each row a function of (seed, id) alone; (B,
    columns) float64.

    All ids at once, by :func:`philox4x32` keyed by the seed at the counter (id, block of four
    columns, stream); an output word w gives w / 2³².

    Args:
        seed: 0 <= seed < 2⁶⁴.
        ids: (B,) integers >= 0.
        columns: how many numbers an id has; the first of them do not depend on how many are asked
            for.
    """
    ids = np.asarray(ids)
    if not 0 <= seed < 2**64 or (len(ids) and ids.min() < 0):
        raise ValueError(f'seed must be in [0, 2**64) and ids >= 0, got seed={seed}, ids={ids}')
    ids, words = ids.astype(np.uint64), []
    for block in range(-(-columns // 4)):
        words.append(philox4x32([ids & WORD, ids >> HALF, block, VIEWS], seed))
    return np.concatenate(words)[:columns].T * 2.0**-32


@dataclass(frozen=True)
class Draws:
    """The random numbers of one step, for every lane alike.

    Attributes:
        seed, step: what they are a function of.
        rank, world: this process and how many share the global batch.
    """

    seed: int
    step: int
    rank: int = 0
    world: int = 1

    def uniform(self) -> float:
        """u_t, one for the step, equal on all ranks."""
        return uniform(self.seed, self.step)

    def uniforms(self, count: int, stream: int) -> np.ndarray:
        """(count,) numbers of a stream, equal on all ranks."""
        return uniforms(self.seed, self.step, count, stream)

    def per_sample(self, batch: int, columns: int = 1, stream: int = SAMPLES) -> np.ndarray:
        """(batch, columns) numbers for the samples of this rank.

        Sample j of rank r is sample ``j · world + r`` of the global batch, as MMEngine's
        ``DefaultSampler`` deals them out: the numbers go with the sample, whatever the number of
        processes.
        """
        numbers = self.uniforms(batch * self.world * columns, stream).reshape(-1, columns)
        return numbers[self.rank :: self.world]


def invert_cdf(probs: Sequence[float], u: float) -> int:
    """Index drawn from Cat(``probs``) by the inverse CDF at ``u`` in [0, 1); never one of
    probability 0.
    """
    return int(invert_cdfs(np.asarray(probs, dtype=np.float64)[None], np.asarray([u]))[0])


def invert_cdfs(probs: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Row by row :func:`invert_cdf`: (B, n) probabilities and (B,) numbers to (B,) indices."""
    cdf = np.cumsum(probs, axis=1)
    index = (cdf <= (u * cdf[:, -1])[:, None]).sum(axis=1)
    last = probs.shape[1] - 1 - np.argmax(probs[:, ::-1] > 0, axis=1)
    return np.minimum(index, last)


def gumbel(u: np.ndarray) -> np.ndarray:
    """Standard Gumbel noise −log(−log u) from uniform numbers in [0, 1), kept off 0 and 1."""
    u = np.clip(u, 2.0**-53, 1 - 2.0**-53)
    return -np.log(-np.log(u))


def _check(seed: int, step: int) -> None:
    if seed < 0 or step < 0:
        raise ValueError(f'seed and step must be >= 0, got seed={seed}, step={step}')
