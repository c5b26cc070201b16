"""The probability simplex: checks, distances, entropy, ranks."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

TOLERANCE = 1e-4  # how far a sum may be off 1


def as_simplex(probs: Sequence[float], n: int) -> list[float]:
    """Checks that ``probs`` is a distribution over n teachers, and divides it by its sum.

    Args:
        probs: n numbers.
        n: how many teachers there are.

    Returns:
        n float64 numbers whose sum is 1 up to rounding.

    Raises:
        ValueError: a wrong length, NaN or infinity, a negative entry, or a sum more than 1e-4
            from 1.

    Examples:
        >>> as_simplex([0.5, 0.25, 0.25], 3)
        [0.5, 0.25, 0.25]
        >>> as_simplex([0.5, 0.6], 2)
        Traceback (most recent call last):
        ValueError: θ sums to 1.1, not 1: [0.5, 0.6]
    """
    p = _numbers(probs)
    if p is None:
        raise ValueError(f'θ must be {n} numbers, got {probs!r}')
    if p.shape != (n,):
        raise ValueError(f'θ must hold one probability for each of the {n} teachers, got {probs!r}')
    if not np.isfinite(p).all():
        raise ValueError(f'θ holds NaN or infinity: {probs!r}')
    if (p < 0).any():
        raise ValueError(f'θ holds a negative probability: {probs!r}')
    if abs(p.sum() - 1) > TOLERANCE:
        raise ValueError(f'θ sums to {p.sum():.6g}, not 1: {probs!r}')
    return [float(v) for v in p / p.sum()]


def as_simplices(probs: Sequence[Sequence[float]], rows: int, n: int) -> list[list[float]]:
    """Checks one distribution for each class; see :func:`as_simplex`.

    Args:
        probs: ``rows`` lists of n numbers.
        rows: C, the number of classes.
        n: how many teachers there are.

    Raises:
        ValueError: another number of rows, or a row that is not a distribution; the message gives
            its number.

    Examples:
        >>> as_simplices([[1.0, 0.0], [0.5, 0.5]], rows=2, n=2)
        [[1.0, 0.0], [0.5, 0.5]]
    """
    if len(probs) != rows:
        raise ValueError(f'θ has {len(probs)} classes, where {rows} are needed')
    found = []
    for number, row in enumerate(probs):
        try:
            found.append(as_simplex(row, n))
        except ValueError as error:
            raise ValueError(f'class {number}: {error}') from error
    return found


def entropy(probs: npt.ArrayLike) -> float:
    """Shannon entropy in nats, with 0 log 0 = 0.

    Not by ``scipy.special.entr``, whose last bit differs: recorded figures stay as they are.

    Args:
        probs: (n,), or (C, n): then the mean over the rows is taken.

    Examples:
        >>> round(entropy([0.5, 0.5]), 4)
        0.6931
        >>> entropy([[1.0, 0.0], [0.0, 1.0]])
        0.0
    """
    p = np.atleast_2d(np.asarray(probs, dtype=np.float64))
    positive = p[p > 0]
    return float(-(positive * np.log(positive)).sum() / len(p)) + 0.0  # + 0.0: never "-0.0"


def total_variation(p: npt.ArrayLike, q: npt.ArrayLike) -> float:
    """Total variation distance ½ Σ |p_i − q_i|, in [0, 1].

    Args:
        p: (n,), or (C, n): then the mean over the rows is taken.
        q: of the same shape.

    Examples:
        >>> total_variation([0.5, 0.5], [1.0, 0.0])
        0.5
    """
    difference = np.atleast_2d(
        np.abs(np.asarray(p, dtype=np.float64) - np.asarray(q, dtype=np.float64))
    )
    return float(0.5 * difference.sum() / len(difference))


def rank_weights(scores: Sequence[float]) -> list[float]:
    """Probabilities proportional to the rank of each score; ties share their mean rank.

    The lowest score has rank 1, the highest n. With the teachers' accuracies as scores this is
    SKDBERT's (AAAI 2023) teacher-rank sampling; with the accuracies of the students that each
    teacher produced on its own, its student-rank sampling. "Proportional to the rank" is our
    reading of that paper.

    Args:
        scores: (n,) finite numbers.

    Returns:
        n probabilities.

    Raises:
        ValueError: ``scores`` is empty, of another shape, or not finite.

    Examples:
        >>> rank_weights([70.8, 62.3, 50.3, 50.3])
        [0.4, 0.3, 0.15, 0.15]
    """
    from scipy.stats import rankdata  # takes seconds to import

    s = _numbers(scores)
    if s is None or s.ndim != 1 or not len(s) or not np.isfinite(s).all():
        raise ValueError(f'scores must be finite numbers, one a teacher, got {scores!r}')
    ranks = rankdata(s)
    return [float(v) for v in ranks / ranks.sum()]


def _numbers(values: object) -> npt.NDArray[np.float64] | None:
    """As float64; None for what is not an array of numbers."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, OverflowError):
        return None
    return array.astype(np.float64) if array.dtype.kind in 'biuf' else None
