"""What competes: the snapshots of a search and fixed points, each distribution once."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from msgspec import structs

from mmdynakd.functional import as_simplex, entropy, total_variation
from mmdynakd.values import Candidate

SAME = 0.01  # total variation under which two candidates are one


def fixed_candidates(
    points: Mapping[str, Sequence[float]], teachers: Sequence[str], lane: str
) -> list[Candidate]:
    """Make candidates of points of the simplex that a user gave.

    Args:
        points: n probabilities by name.
        teachers: names of the n teachers.
        lane: the lane of the search under whose settings they compete.

    Raises:
        ValueError: for what is not a point of the simplex; it is named.

    Examples:
        >>> [half] = fixed_candidates({'half': [0.5, 0.5]}, ['strong', 'weak'], 'search')
        >>> half.theta
        {'strong': 0.5, 'weak': 0.5}
    """
    found = []
    for name, probs in points.items():
        try:
            theta = as_simplex(probs, len(teachers))
        except ValueError as error:
            raise ValueError(f'fixed_candidates.{name}: {error}') from error
        by_teacher = dict(zip(teachers, theta))
        found.append(Candidate(name=name, lane=lane, theta=by_teacher, entropy=entropy(theta)))
    return found


def merge_candidates(
    candidates: Iterable[Candidate],
) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...]]:
    """Split candidates into distinct ones and those equal to an earlier one.

    Returns:
        Those kept, and those within a total variation of 0.01 of one of them, which ``same_as``
        names.

    Examples:
        >>> kept, merged = merge_candidates([
        ...     Candidate(name='a', theta=dict(x=0.5, y=0.5)),
        ...     Candidate(name='b', theta=dict(x=0.505, y=0.495)),
        ... ])
        >>> [one.name for one in kept], [(one.name, one.same_as) for one in merged]
        (['a'], [('b', 'a')])
    """
    kept: list[Candidate] = []
    merged: list[Candidate] = []
    for candidate in candidates:
        near = (k for k in kept if total_variation(_rows(candidate), _rows(k)) < SAME)
        twin = next(near, None)
        if twin is None:
            kept.append(candidate)
        else:
            merged.append(structs.replace(candidate, same_as=twin.name))
    return tuple(kept), tuple(merged)


def _rows(candidate: Candidate) -> npt.NDArray[np.float64]:
    """θ as (n,), or (C, n) where it is class-conditional."""
    columns: npt.NDArray[np.float64] = np.array(list(candidate.theta.values()))
    return np.transpose(columns)
