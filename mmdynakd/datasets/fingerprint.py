"""A hash of what decides the pixels that a data set serves."""

import functools
import hashlib
import os
import types
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

# Attributes of a data set that do not count: where its files lie, how they are read and kept. Its
# entries, which result from them, are hashed separately.
BOOKKEEPING = {
    'data_root',
    'data_prefix',
    'ann_file',
    'data_list',
    'data_bytes',
    'data_address',
    'serialize_data',
    '_metainfo',
    '_fully_initialized',
    'lazy_init',
    'download',
    'verify',
}


def fingerprint(*parts: object) -> str:
    """Hex sha256 of values, arrays, functions and objects, equal in every process.

    Objects count by class and attributes. What cannot be described (a lambda, a local function, an
    object without attributes whose ``repr`` is an address) counts as new in every process. Such a
    fingerprint never equals another run's, so nothing that may differ passes for the same.

    ``joblib.hash`` would not do: it hashes a pickle, which tells equal values apart by how they are
    shared, and refuses lambdas.

    Examples:
        >>> fingerprint([1, 2])[:8]
        'd0e13e2c'
        >>> fingerprint(dict(a=1, b=2)) == fingerprint(dict(b=2, a=1))
        True
        >>> fingerprint(lambda x: x) == fingerprint(lambda x: x)
        False
    """
    digest = hashlib.sha256()
    for token in _tokens(parts, ()):
        digest.update(len(token).to_bytes(8, 'little'))
        digest.update(token)
    return digest.hexdigest()


def entries(dataset: Any) -> Iterable[list[Any]]:
    """What a data set says of each sample, for :func:`fingerprint`.

    A file that a sample names counts by its path, size and time of last change.

    Args:
        dataset: one with ``get_data_info(index)``, or that wraps such a one as ``.dataset``.

    Raises:
        ValueError: there is no ``get_data_info``.

    Examples:
        >>> class Two:
        ...     __len__ = lambda self: 2
        ...     get_data_info = lambda self, index: dict(label=index)
        >>> list(entries(Two()))
        [[{'label': 0}, []], [{'label': 1}, []]]
    """
    while not hasattr(dataset, 'get_data_info'):
        if not hasattr(dataset, 'dataset'):
            raise ValueError(
                f'{type(dataset).__name__} has no get_data_info(index), by which its samples are '
                "known: derive the data set from MMEngine's BaseDataset"
            )
        dataset = dataset.dataset
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        files = [_file(value) for key, value in info.items() if str(key).endswith('path')]
        yield [info, files]


def _file(path: Any) -> list[Any]:
    try:
        status = os.stat(path)
    except (OSError, TypeError, ValueError):  # on a remote store: the path must do
        return [str(path)]
    return [str(path), status.st_size, status.st_mtime_ns]


def _tokens(value: Any, above: tuple[int, ...]) -> Iterable[bytes]:
    """The description of ``value``, in parts; ``above`` are the ids of what holds it."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        yield f'{type(value).__name__} {value!r}'.encode()
        return
    if id(value) in above:
        yield b'above %d' % above[::-1].index(id(value))
        return
    above = (*above, id(value))
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.dtype != object:
        yield f'array {value.dtype.str} {value.shape}'.encode()
        yield value.tobytes()
        return
    head, parts = _parts(value)
    yield f'{head} of {len(parts)}'.encode()
    for part in parts:
        yield from _tokens(part, above)


def _parts(value: Any) -> tuple[str, list[Any]]:
    """A name and the parts of what is not a plain value."""
    kind = f'{type(value).__module__}.{type(value).__qualname__}'
    if isinstance(value, Mapping):
        return kind, [part for key in sorted(value, key=repr) for part in (key, value[key])]
    if isinstance(value, (list, tuple, np.ndarray)):
        return kind, list(value)
    if isinstance(value, (set, frozenset)):
        return kind, sorted(value, key=repr)
    if isinstance(value, functools.partial):
        return kind, [value.func, value.args, value.keywords]
    if isinstance(value, types.MethodType):
        return f'{kind} {value.__name__}', [value.__self__]
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        name = f'{value.__module__}.{value.__qualname__}'
        return (name, []) if '<' not in name else (name, [uuid.uuid4().hex])
    if hasattr(value, '__dict__'):
        left_out = BOOKKEEPING if hasattr(value, 'get_data_info') else ()
        return kind, [
            part
            for key in sorted(vars(value))
            if key not in left_out
            for part in (key, vars(value)[key])
        ]
    text = repr(value)
    return f'{kind} {text}', [] if ' at 0x' not in text else [uuid.uuid4().hex]
