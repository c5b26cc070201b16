"""The probability simplex: checks, distances, entropy, ranks."""

from collections.abc import Sequence

import numpy as np

TOLERANCE = 1e-4


def as_simplex(probs: Sequence[float], n: int) -> list[float]:
    """``probs`` as n float64 numbers that sum to exactly what float64 allows.

    Raises:
        ValueError: for a wrong length, NaN or infinity, a negative entry, or a sum off 1 by more
            than 1e-4.
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
    """``rows`` points of the simplex, one a class; see :func:`as_simplex` for each.

    Raises:
        ValueError: for another number of rows, or a row that is no simplex, named by its number.
    """
    if len(probs) != rows:
        raise ValueError(f'θ of {len(probs)} classes, where {rows} are needed')
    found = []
    for number, row in enumerate(probs):
        try:
            found.append(as_simplex(row, n))
        except ValueError as error:
            raise ValueError(f'class {number}: {error}') from error
    return found


def entropy(probs: Sequence[float] | Sequence[Sequence[float]]) -> float:
    """Shannon entropy of ``probs`` (n,) in nats, with 0 log 0 = 0; of (C, n), the mean over the
    rows.
    """
    p = np.atleast_2d(np.asarray(probs, dtype=np.float64))
    return float(-(p[p > 0] * np.log(p[p > 0])).sum() / len(p)) + 0.0


def total_variation(p: Sequence, q: Sequence) -> float:
    """Total variation distance ½ Σ |p_i − q_i|, in [0, 1], of (n,); of (C, n), the mean over the
    rows.
    """
    difference = np.atleast_2d(
        np.abs(np.asarray(p, dtype=np.float64) - np.asarray(q, dtype=np.float64))
    )
    return float(0.5 * difference.sum() / len(difference))


def rank_weights(scores: Sequence[float]) -> list[float]:
    """Probabilities proportional to the rank of each score (lowest 1, highest n; ties share their
    mean rank).

    With the teachers' accuracies it is SKDBERT's (AAAI 2023) teacher-rank sampling, with those of
    the students that each teacher produced alone, its student-rank sampling; the rule "proportional
    to the rank" is our reading.
    """
    s = _numbers(scores)
    if s is None or s.ndim != 1 or not len(s) or not np.isfinite(s).all():
        raise ValueError(f'scores must be finite numbers, one a teacher, got {scores!r}')
    ranks = np.array([(s < v).sum() + ((s == v).sum() + 1) / 2 for v in s])
    return [float(v) for v in ranks / ranks.sum()]


def _numbers(values: object) -> np.ndarray | None:
    """As float64; None for what is no array of numbers."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, OverflowError):
        return None
    return array.astype(np.float64) if array.dtype.kind in 'biuf' else None
