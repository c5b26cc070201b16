"""Names: which are allowed, and which one was meant."""

import difflib
import re
from collections.abc import Iterable

PLAIN = re.compile(r'[^\s./\\\x00-\x1f\x7f-\x9f][^/\\\x00-\x1f\x7f-\x9f]*')


def is_plain_name(name: object) -> bool:
    """Whether ``name`` is text that may name a file inside a folder: no separator, no leading dot,
    nothing unseen.
    """
    return isinstance(name, str) and len(name) <= 100 and PLAIN.fullmatch(name) is not None


def is_lane_name(name: object) -> bool:
    """Whether a lane may be called so: its name becomes a prefix of losses and metrics, and part of
    file names.
    """
    return is_plain_name(name) and '.' not in name and 'loss' not in name


def nearest(wrong: object, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name nearest to ``wrong``, if one is near; letters' case does not count."""
    folded = {str(name).lower(): str(name) for name in known}
    near = difflib.get_close_matches(str(wrong).lower(), folded, n=1, cutoff=cutoff)
    return folded[near[0]] if near else None


def suggestion(wrong: object, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the known name nearest to ``wrong``, or nothing where none is
    near.
    """
    near = nearest(wrong, known)
    return f' (did you mean {near!r}?)' if near else ''


def unknown_names(given: Iterable, known: Iterable[str]) -> str:
    """Those of ``given`` that are not known, each with the nearest that is; '' if all are known."""
    known = list(known)
    return ', '.join(f'{name!r}{suggestion(name, known)}' for name in given if name not in known)
