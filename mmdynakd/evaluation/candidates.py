"""What competes: the snapshots of a search and fixed points, each distribution once."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mmdynakd.functional import as_simplex, entropy, total_variation

SAME = 0.01  # total variation under which two candidates are one

Candidate = dict[str, Any]


def fixed_candidates(
    points: Mapping[str, Iterable[float]], teachers: list[str], lane: str
) -> list[Candidate]:
    """Make candidates of points of the simplex that a user gave.

    Args:
        points: n probabilities by name.
        teachers: names of the n teachers.
        lane: the lane of the search under whose settings they compete.

    Raises:
        ValueError: for what is not a point of the simplex; it is named.
    """
    found = []
    for name, probs in points.items():
        try:
            theta = as_simplex(probs, len(teachers))
        except ValueError as error:
            raise ValueError(f'fixed_candidates.{name}: {error}') from error
        found.append(
            dict(
                name=name,
                lane=lane,
                step=None,
                theta=dict(zip(teachers, theta)),
                entropy=entropy(theta),
                upper_loss=None,
            )
        )
    return found


def merge_candidates(candidates: list[Candidate]) -> tuple[list[Candidate], list[Candidate]]:
    """Split candidates into distinct ones and those equal to an earlier one.

    Returns:
        Those kept, and those within a total variation of 0.01 of one of them, which ``same_as``
        names.

    Examples:
        >>> a, b = dict(name='a', theta=dict(x=0.5, y=0.5)), dict(name='b', theta=dict(x=0.505, y=0.495))
        >>> kept, merged = merge_candidates([a, b])
        >>> [one['name'] for one in kept], [(one['name'], one['same_as']) for one in merged]
        (['a'], [('b', 'a')])
    """
    kept: list[Candidate] = []
    merged: list[Candidate] = []
    for candidate in candidates:
        twin = next(
            (k for k in kept if total_variation(_rows(candidate), _rows(k)) < SAME),
            None,
        )
        if twin is None:
            kept.append(candidate)
        else:
            merged.append({**candidate, 'same_as': twin['name']})
    return kept, merged


def _rows(candidate: Candidate) -> np.ndarray:
    """θ as (n,), or (C, n) where it is class-conditional."""
    return np.array(list(candidate['theta'].values())).T
