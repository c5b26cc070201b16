"""Checks that several values share; each raises ValueError with the entry and the key."""

from collections.abc import Hashable, Sequence

from mmdynakd.names import is_lane_name

from .mistakes import shown


def check_lane_name(place: str, key: str, name: str) -> None:
    """Checks that a name may name a lane, and so a folder and a prefix of metrics.

    Raises:
        ValueError: it may not.

    Examples:
        >>> check_lane_name('candidates[0]: ', 'name', '../up')
        Traceback (most recent call last):
        ValueError: candidates[0]: name must be a name without '/', '.' or 'loss', got '../up'
    """
    if not is_lane_name(name):
        raise ValueError(
            f"{place}{key} must be a name without '/', '.' or 'loss', got {shown(name)}"
        )


def check_names(key: str, names: Sequence[str]) -> None:
    """Checks that names are there, not empty and all different.

    Raises:
        ValueError: they are not.

    Examples:
        >>> check_names('teachers', ['a', 'a'])
        Traceback (most recent call last):
        ValueError: teachers must be a list of different names, got ['a', 'a']
    """
    if not names or not all(names) or len(set(names)) < len(names):
        raise ValueError(f'{key} must be a list of different names, got {shown(list(names))}')


def check_different(names: Sequence[str], beside: Sequence[Hashable] = ()) -> None:
    """Checks that no name is there twice.

    Args:
        names: of entries.
        beside: what else tells two entries apart, one for each name, such as a seed.

    Raises:
        ValueError: two entries share a name.

    Examples:
        >>> check_different(['cat1', 'cat1'], [0, 1])
        >>> check_different(['cat1', 'cat1'])
        Traceback (most recent call last):
        ValueError: the name 'cat1' is there twice: give each entry a name of its own
    """
    seen = set()
    for entry in zip(names, beside or [None] * len(names), strict=True):
        if entry in seen:
            raise ValueError(
                f'the name {entry[0]!r} is there twice: give each entry a name of its own'
            )
        seen.add(entry)
