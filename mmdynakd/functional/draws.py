"""Random draws as pure functions of (seed, step): equal on every rank and after every resume.

A counter-based generator (Philox) has no state to keep, so there is nothing to save, to broadcast
or to rewind.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .philox import HALF, WORD, philox4x32

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# Streams of further numbers. None shares a number with u_t or with another stream.
SAMPLES, GUMBEL, SUBSET, VIEWS = 1, 2, 3, 4


def uniform(seed: int, step: int) -> float:
    """The uniform number u_t of a step: the first output of NumPy's Philox at counter t.

    Lanes with the same seed share u_t (common random numbers).

    Args:
        seed: Philox's key, >= 0.
        step: t, >= 0.

    Returns:
        A number in [0, 1).

    Raises:
        ValueError: ``seed`` or ``step`` is negative.

    Examples:
        >>> uniform(seed=0, step=0)
        0.011546754286331562
        >>> uniform(seed=0, step=1)
        0.5023796042735054
    """
    return float(_philox(seed, counter=step, step=step).random())


def uniforms(seed: int, step: int, count: int, stream: int) -> Floats:
    """Further uniform numbers of a step.

    Philox counts through the lowest of the four words of its counter. So the step is put in the
    second word and the stream in the fourth: no two steps or streams share a number.

    Args:
        seed: Philox's key, >= 0.
        step: t, >= 0.
        count: how many numbers.
        stream: >= 1; what the numbers are for.

    Returns:
        (count,) float64 in [0, 1).

    Raises:
        ValueError: ``seed`` or ``step`` is negative, or ``stream`` < 1.

    Examples:
        >>> uniforms(seed=3, step=5, count=2, stream=SAMPLES).tolist()
        [0.35333192419333326, 0.7383737400825835]
    """
    if stream < 1:
        raise ValueError(f'stream must be >= 1, got {stream}')
    return _philox(seed, counter=(step << 64) | (stream << 192), step=step).random(count)


def view_uniforms(seed: int, ids: npt.ArrayLike, columns: int) -> Floats:
    """Uniform numbers for views of samples; each row is a function of only (seed, id).

    All ids are served at once, by :func:`.philox4x32` keyed by the seed at the counter (id, block
    of four columns, stream). An output word w gives w / 2³².

    Args:
        seed: 0 <= seed < 2⁶⁴.
        ids: (B,) integers >= 0.
        columns: how many numbers an id has. The first ones do not depend on how many are asked for.

    Returns:
        (B, columns) float64 in [0, 1).

    Raises:
        ValueError: the seed or an id is out of range.

    Examples:
        >>> view_uniforms(seed=7, ids=[0, 1], columns=2).round(4).tolist()
        [[0.0949, 0.7857], [0.7776, 0.4208]]
    """
    given = np.asarray(ids)
    if not 0 <= seed < 2**64 or (given.size and given.min() < 0):
        raise ValueError(f'seed must be in [0, 2**64) and ids >= 0, got seed={seed}, ids={given}')
    counters = given.astype(np.uint64)
    words = [
        philox4x32([counters & WORD, counters >> HALF, block, VIEWS], seed)
        for block in range(-(-columns // 4))
    ]
    numbers: Floats = np.concatenate(words)[:columns].T * 2.0**-32
    return numbers


@dataclass(frozen=True)
class Draws:
    """The random numbers of one step, equal for every lane.

    Attributes:
        seed: the run's seed, >= 0.
        step: of the run, from 0.
        rank: of this process.
        world: how many processes share the global batch.

    Examples:
        >>> draws = Draws(seed=0, step=1)
        >>> draws.uniform()
        0.5023796042735054
        >>> whole = draws.per_sample(batch=4)
        >>> half = Draws(seed=0, step=1, rank=1, world=2).per_sample(batch=2)
        >>> bool((half == whole[1::2]).all())
        True
    """

    seed: int
    step: int
    rank: int = 0
    world: int = 1

    def uniform(self) -> float:
        """u_t, one for the step, equal on all ranks; see :func:`uniform`."""
        return uniform(self.seed, self.step)

    def uniforms(self, count: int, stream: int) -> Floats:
        """(count,) numbers of a stream, equal on all ranks; see :func:`uniforms`."""
        return uniforms(self.seed, self.step, count, stream)

    def per_sample(self, batch: int, columns: int = 1, stream: int = SAMPLES) -> Floats:
        """Numbers for the samples of this rank.

        Sample j of rank r is sample ``j · world + r`` of the global batch, as MMEngine's
        ``DefaultSampler`` deals them out. So the numbers go with the sample, whatever the number of
        processes.

        Args:
            batch: samples on this rank.
            columns: numbers a sample.
            stream: what they are for.

        Returns:
            (batch, columns) float64 in [0, 1).
        """
        numbers = self.uniforms(batch * self.world * columns, stream).reshape(-1, columns)
        return numbers[self.rank :: self.world]


def invert_cdf(probs: Sequence[float], u: float) -> int:
    """Draws an index from Cat(``probs``) by inverting its CDF.

    Args:
        probs: (n,) probabilities; need not sum to exactly 1.
        u: in [0, 1).

    Returns:
        An index, never one whose probability is 0.

    Examples:
        >>> invert_cdf([0.25, 0.25, 0.5], 0.3)
        1
    """
    return int(invert_cdfs(np.asarray(probs, dtype=np.float64)[None], np.asarray([u]))[0])


def invert_cdfs(probs: Floats, u: Floats) -> Integers:
    """Does :func:`invert_cdf` row by row.

    Args:
        probs: (B, n).
        u: (B,) in [0, 1).

    Returns:
        (B,) indices.

    Examples:
        >>> invert_cdfs(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0.7, 0.7])).tolist()
        [1, 0]
    """
    cdf = np.cumsum(probs, axis=1)
    index = (cdf <= (u * cdf[:, -1])[:, None]).sum(axis=1)
    last = probs.shape[1] - 1 - np.argmax(probs[:, ::-1] > 0, axis=1)
    found: Integers = np.minimum(index, last)
    return found


def gumbel(u: Floats) -> Floats:
    """Turns uniform numbers into standard Gumbel noise, −log(−log u).

    Args:
        u: in [0, 1), any shape; moved off 0 and 1 by 2⁻⁵³.

    Returns:
        Finite numbers of the same shape.

    Examples:
        >>> gumbel(np.array([0.5])).round(4).tolist()
        [0.3665]
    """
    kept = np.clip(u, 2.0**-53, 1 - 2.0**-53)
    noise: Floats = -np.log(-np.log(kept))
    return noise


def _philox(seed: int, counter: int, step: int) -> np.random.Generator:
    if seed < 0 or step < 0:
        raise ValueError(f'seed and step must be >= 0, got seed={seed}, step={step}')
    return np.random.Generator(np.random.Philox(key=seed, counter=counter))
