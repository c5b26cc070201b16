"""Names: which are allowed, and which one was meant."""

import difflib
import re
from collections.abc import Iterable
from typing import TypeGuard

PLAIN = re.compile(r'[^\s./\\\x00-\x1f\x7f-\x9f][^/\\\x00-\x1f\x7f-\x9f]*')
LONGEST = 100  # characters


def is_plain_name(name: object) -> TypeGuard[str]:
    """Whether ``name`` is text that may name a file inside a folder.

    It has no separator, no leading dot, no control character, and at most 100 characters.

    Examples:
        >>> is_plain_name('cat1'), is_plain_name('../cat1'), is_plain_name('.hidden')
        (True, False, False)
    """
    return isinstance(name, str) and len(name) <= LONGEST and PLAIN.fullmatch(name) is not None


def is_lane_name(name: object) -> TypeGuard[str]:
    """Whether a lane may have this name: it becomes part of losses, metrics and file names.

    Examples:
        >>> is_lane_name('search'), is_lane_name('search.theta'), is_lane_name('loss1')
        (True, False, False)
    """
    return is_plain_name(name) and '.' not in name and 'loss' not in name


def nearest(wrong: object, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name nearest to ``wrong``, ignoring case; None if none is near.

    Args:
        wrong: what was given.
        known: the names to choose from.
        cutoff: how similar is near, in [0, 1]; see :func:`difflib.get_close_matches`.

    Examples:
        >>> nearest('Serach', ['search', 'evaluate'])
        'search'
    """
    folded = {str(name).lower(): str(name) for name in known}
    near = difflib.get_close_matches(str(wrong).lower(), folded, n=1, cutoff=cutoff)
    return folded[near[0]] if near else None


def suggestion(wrong: object, known: Iterable[str]) -> str:
    """Text for the end of a message: `` (did you mean 'x'?)``, or nothing if no name is near.

    Examples:
        >>> suggestion('serach', ['search', 'evaluate'])
        " (did you mean 'search'?)"
        >>> suggestion('x', ['search', 'evaluate'])
        ''
    """
    near = nearest(wrong, known)
    return f' (did you mean {near!r}?)' if near else ''


def unknown_names(given: Iterable[object], known: Iterable[str]) -> str:
    """Those of ``given`` that are not known, each with the nearest that is; '' if all are known.

    Examples:
        >>> unknown_names(['student', 'tehta'], ['student', 'theta'])
        "'tehta' (did you mean 'theta'?)"
    """
    known = list(known)
    return ', '.join(f'{name!r}{suggestion(name, known)}' for name in given if name not in known)
