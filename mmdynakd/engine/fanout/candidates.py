"""What a search left for its evaluation: candidates.json, checked before anything of it is used."""
import json
import math
import os
import os.path as osp
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from mmdynakd.functional import as_simplex

CANDIDATES = 'candidates.json'
LONGEST = 100  # bytes of a lane's name, which names a folder


def read_candidates(results_dir: str, cfg: Config) -> dict:
    """The ``candidates.json`` of a search: ``seed``, ``teachers`` and ``candidates``.

    Args:
        results_dir: work dir of the search.
        cfg: config of the search, whose teachers and lanes the file must name.

    Raises:
        ValueError: it is missing, cut short or no JSON; a candidate's θ is no point of the simplex; a teacher, lane or
            name is unknown, repeated or unfit to name a folder.
    """
    path = osp.join(results_dir, CANDIDATES)
    content = _read(path)
    try:
        seed, teachers, candidates = (_entry(content, key, kind) for key, kind in (
            ('seed', int), ('teachers', list), ('candidates', list)))
        _check_names('teachers', teachers, list(cfg.model.teachers))
        if not candidates:
            raise ValueError('candidates is empty')
        lanes = list(cfg.model.get('lanes') or ['search'])
        for number, candidate in enumerate(candidates):
            try:
                _check_candidate(candidate, teachers, lanes)
            except ValueError as error:
                raise ValueError(f'candidates[{number}]: {error}') from error
        _check_names('candidates', [candidate['name'] for candidate in candidates])
    except ValueError as error:
        raise ValueError(f'{path}: {error}. The search writes this file anew when it is run again') from error
    return dict(seed=seed, teachers=teachers, candidates=candidates)


def check_folder_name(name: Any) -> None:
    """Raises ValueError unless a lane's name is a plain one, that names a folder where it is put and nowhere else."""
    plain = isinstance(name, str) and name and name.isprintable() and not set(name) & {'/', '\\'}
    if not plain or name != name.strip() or name.startswith(('.', '-')) or len(os.fsencode(name)) > LONGEST:
        raise ValueError(f"the lane name {name!r} cannot name a folder: it must be printable text without '/' and "
                         f"'\\', not begin with '.' or '-', and have at most {LONGEST} bytes")


def _read(path: str) -> dict:
    if not osp.isfile(path):
        raise ValueError(f'{path} is missing: give the work dir of a DynaKD search that has come to its end (an '
                         'interrupted one goes on by the command that started it)')
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f'{path} is damaged or cut short ({type(error).__name__}: {error}). The search writes this '
                         'file anew when it is run again') from error
    if not isinstance(content, dict):
        raise ValueError(f'{path} must hold a mapping, not {type(content).__name__}')
    return content


def _entry(content: Mapping, key: str, kind: type) -> Any:
    value = content.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f'{key} must be a {kind.__name__}, got {value!r}')
    return value


def _check_names(what: str, names: list, known: list | None = None) -> None:
    repeated = sorted({repr(name) for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{what} repeat the names {', '.join(repeated)}")
    unknown = [name for name in names if known is not None and name not in known]
    if unknown or not names:
        raise ValueError(f'{what} must be among those of the config, {known}; got {names!r}')


def _check_candidate(candidate: Any, teachers: list[str], lanes: list[str]) -> None:
    if not isinstance(candidate, Mapping):
        raise ValueError(f'must be a mapping, got {candidate!r}')
    check_folder_name(candidate.get('name'))
    if candidate.get('lane') not in lanes:
        raise ValueError(f"lane must be one of {lanes}, got {candidate.get('lane')!r}")
    theta = _entry(candidate, 'theta', dict)
    _check_names('theta', list(theta), teachers)
    columns = [value if isinstance(value, list) else [value] for value in theta.values()]
    if len({(isinstance(value, list), len(column)) for value, column in zip(theta.values(), columns)}) > 1:
        raise ValueError(f'theta has another number of classes for one teacher than for another: {theta!r}')
    for row in zip(*columns):
        if not all(isinstance(p, (int, float)) and not isinstance(p, bool) and math.isfinite(p) for p in row):
            raise ValueError(f'theta must hold finite numbers, got {theta!r}')
        as_simplex(row, len(theta))
    if not columns[0]:
        raise ValueError('theta is empty')
