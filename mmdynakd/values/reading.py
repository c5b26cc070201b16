"""What a search and an evaluation wrote, read back and checked entry by entry."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mmdynakd.errors import UserError
from mmdynakd.files import read_json
from mmdynakd.functional import as_simplex, as_simplices
from mmdynakd.names import is_lane_name, nearest, suggestion, unknown_names

# key: (test, what it must be); those with '?' may be absent
CANDIDATES = {
    'teachers': ('names', 'a list of different names'),
    'candidates': ('list', 'a list of candidates'),
    'seed?': ('count', 'an integer >= 0'),
    'merged?': ('list', 'a list of candidates'),
}
CANDIDATE = {
    'name': ('name', "a name without '/', '.' or 'loss'"),
    'theta': ('theta', '{teacher: probability}'),
    'lane?': ('name', 'the name of a lane'),
    'step?': ('step', 'an integer >= 0 or null'),
    'entropy?': ('number', 'a number'),
    'upper_loss?': ('loss', 'a number or null'),
    'same_as?': ('name', 'the name of a candidate'),
}
RESULTS = {
    'selected': ('name', 'the name of a lane'),
    'lanes': ('list', 'a list of lanes'),
    'teachers': ('names', 'a list of different names'),
    'seed': ('count', 'an integer >= 0'),
    'epochs': ('count', 'an integer >= 0'),
    'test_size': ('count', 'an integer >= 0'),
    'device': ('text', 'text'),
    'versions': ('dict', 'an object'),
}
ROW = {
    'name': ('name', 'the name of a lane'),
    'role': ('role', "'candidate' or 'baseline'"),
    'val': ('metrics', '{metric: number}'),
    'test': ('metrics', '{metric: number}'),
    'theta?': ('theta or null', '{teacher: probability} or null'),
}
AGAIN = 'write it anew by running the search again, or mend it'


def read_candidates(path: str) -> dict:
    """``candidates.json`` of a search, checked.

    Returns:
        ``teachers`` (names) and ``candidates``: ``name`` (may name a lane and a folder), ``theta``,
        ``{teacher: probability}`` or, class-conditional, ``{teacher: [probability of each
        class]}``, and what else the file has.

    Raises:
        UserError: the file is missing or no JSON, a key is missing, unknown or of another type, two
            candidates share a name, or a θ is no simplex over the teachers; file, entry and key are
            named.
    """
    content = _object(path, read_json(path), CANDIDATES, strict=True, remedy=AGAIN)
    if not content['candidates']:
        raise UserError(f'{path}: candidates is empty; {AGAIN}')
    names: list[str] = []
    for key in ('candidates', 'merged'):
        for number, entry in enumerate(content.get(key, [])):
            place = f'{path}: {key}[{number}]'
            _object(place, entry, CANDIDATE, strict=True, remedy=AGAIN)
            _check_theta(f"{place} ('{entry['name']}')", entry['theta'], content['teachers'])
            names.append(entry['name'])
    _check_different(path, names)
    return content


def read_results(path: str, metric: str | None = None) -> dict:
    """``results.json`` of an evaluation, checked; keys that this version does not know are left as
    they are.

    Args:
        path: of the file.
        metric: that every lane must have, on val and on test.

    Raises:
        UserError: as :func:`read_candidates`; also where the lane selected is absent, or a lane
            lacks the metric.
    """
    remedy = 'run the evaluation again'
    content = _object(path, read_json(path), RESULTS, strict=False, remedy=remedy)
    for number, row in enumerate(content['lanes']):
        place = f'{path}: lanes[{number}]'
        _object(place, row, ROW, strict=False, remedy=remedy)
        place += f" ('{row['name']}')"
        if row.get('theta') is not None:
            _check_theta(place, row['theta'], row['theta'])
        for split in ('val', 'test'):
            if metric is not None and metric not in row[split]:
                raise UserError(
                    f'{place}: {split} has no {metric!r}{suggestion(metric, row[split])}; it has '
                    f'{sorted(row[split])}'
                )
    names = [row['name'] for row in content['lanes']]
    _check_different(path, names)
    if content['selected'] not in names:
        raise UserError(
            f'{path}: selected is {content["selected"]!r}, which is none of the lanes {names}; '
            f'{remedy}'
        )
    return content


def _object(
    place: str, value: Any, schema: Mapping[str, tuple[str, str]], strict: bool, remedy: str
) -> dict:
    """``value``, an object with the keys of ``schema``."""
    if not isinstance(value, dict):
        raise UserError(f'{place}: an object is needed, got {_shown(value)}; {remedy}')
    required = [key for key in schema if not key.endswith('?')]
    known = [key.rstrip('?') for key in schema]
    missing = [key for key in required if key not in value]
    unknown = [key for key in value if key not in known]
    if missing:
        near = nearest(missing[0], unknown)
        instead = f'; there is {near!r} in its place' if near else ''
        raise UserError(f'{place}: the key {missing[0]!r} is missing{instead}; {remedy}')
    if unknown and strict:
        raise UserError(f'{place}: unknown key {unknown_names(unknown, known)}; known are {known}')
    for key, (kind, need) in schema.items():
        key = key.rstrip('?')
        if key in value and not KINDS[kind](value[key]):
            raise UserError(f'{place}: {key} must be {need}, got {_shown(value[key])}; {remedy}')
    return value


def _check_theta(place: str, theta: Mapping, teachers: Iterable[str]) -> None:
    teachers = list(teachers)
    unknown = unknown_names(theta, teachers)
    if unknown or not theta:
        raise UserError(
            f'{place}: theta must name teachers of {teachers}, unknown: {unknown or "it is empty"}'
        )
    columns = list(theta.values())
    lists = [isinstance(column, list) for column in columns]
    if any(lists) and not all(lists):
        raise UserError(
            f'{place}: theta must hold one number a teacher, or one list a teacher (a number a '
            'class)'
        )
    if all(lists) and len({len(column) for column in columns} | {0}) != 2:
        raise UserError(
            f'{place}: theta holds lists of {[len(column) for column in columns]} classes'
        )
    try:
        if all(lists):
            as_simplices(list(zip(*columns)), len(columns[0]), len(columns))
        else:
            as_simplex(columns, len(columns))
    except ValueError as error:
        raise UserError(f'{place}: theta: {error}') from error


def _check_different(path: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            f'{path}: the name {twice[0]!r} is there twice; give each entry a name of its own'
        )


def _is_number(value: Any) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 2**63
    return isinstance(value, float) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return _is_number(value) and isinstance(value, int) and value >= 0


def _is_theta(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _is_number(p) or (isinstance(p, list) and all(map(_is_number, p))) for p in value.values()
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f'{text[:77]}…'


KINDS: dict[str, Callable[[Any], bool]] = {
    'names': lambda value: (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(name, str) and name for name in value)
        and len(set(value)) == len(value)
    ),
    'list': lambda value: isinstance(value, list),
    'dict': lambda value: isinstance(value, dict),
    'text': lambda value: isinstance(value, str),
    'name': is_lane_name,
    'role': lambda value: value in ('candidate', 'baseline'),
    'count': _is_count,
    'step': lambda value: value is None or _is_count(value),
    'number': _is_number,
    'loss': lambda value: value is None or _is_number(value),
    'metrics': lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
    'theta': _is_theta,
    'theta or null': lambda value: value is None or _is_theta(value),
}
