"""What msgspec found wrong, in our words: entry, key, what the key must be, and what it is."""

import contextlib
import re
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from mmdynakd.names import nearest, unknown_names

STEP = re.compile(r'\.(\w+)|\[(\d+|\.\.\.)\]')
PATH = re.compile(r' - at `\$([^`]*)`$')
LENGTH = 80  # characters of a value in a message


class Spot(NamedTuple):
    """A place in the content of a file.

    Attributes:
        entry: the object that is meant or holds the key, such as ``candidates[1]``; '' for the
            whole file.
        key: of the object; '' where the object itself is meant.
        need: what the key must be.
        value: what is there.
        kind: msgspec's description of the object's type; None where it is not an object of ours.

    Examples:
        See :func:`mistake`, which puts it into words.
    """

    entry: str
    key: str
    need: str
    value: Any
    kind: inspect.StructType | None


def mistake(error: msgspec.ValidationError, content: Any, kind: type) -> str:
    """Says what is wrong with the content of a file.

    Args:
        error: raised where the content was read as ``kind``.
        content: of the file, as JSON gives it.
        kind: a class of values.

    Examples:
        >>> class Point(msgspec.Struct):
        ...     x: float
        >>> content = dict(X=1)
        >>> try:
        ...     msgspec.convert(content, Point)
        ... except msgspec.ValidationError as error:
        ...     print(mistake(error, content, Point))
        the key 'x' is missing; 'X' is there instead
    """
    text, info = str(error), inspect.type_info(kind)
    found = PATH.search(text)
    for path in [found.group(1) if found else '', '']:  # '': it was a key that looks like a path
        with contextlib.suppress(LookupError, StopIteration, TypeError):
            return _said(_follow(path, content, info))
    return text


def shown(value: Any) -> str:
    """A value for a message, cut where it is long.

    Examples:
        >>> shown('x' * 100)[-5:]
        'xxxx…'
    """
    text = repr(value)
    return text if len(text) <= LENGTH else f'{text[: LENGTH - 3]}…'


def core(kind: inspect.Type) -> inspect.Type:
    """The type without its description, and without null where it is optional.

    Examples:
        >>> core(inspect.type_info(int | None)) == inspect.type_info(int)
        True
    """
    if isinstance(kind, inspect.Metadata):
        return core(kind.type)
    if isinstance(kind, inspect.UnionType):
        return core(next(t for t in kind.types if not isinstance(t, inspect.NoneType)))
    return kind


def _follow(path: str, value: Any, kind: inspect.Type) -> Spot:
    """The spot that a path such as ``.candidates[1].theta[...]`` leads to."""
    kind, whole = core(kind), ''
    spot = Spot('', '', '', value, kind if isinstance(kind, inspect.StructType) else None)
    for name, index in STEP.findall(path):
        if name:
            if not isinstance(kind, inspect.StructType):
                raise LookupError(path)
            field = next(field for field in kind.fields if field.encode_name == name)
            value, entry, kind = value[name], whole, core(field.type)
            whole += f'.{name}' if whole else name
            spot = Spot(entry, name, _need(field.type), value, None)
        elif isinstance(kind, inspect.VarTupleType):
            whole += f'[{index}]'
            value, kind = value[int(index)], core(kind.item_type)
            if isinstance(kind, inspect.StructType):
                spot = Spot(whole, '', '', value, kind)
        else:
            break  # inside a mapping, whose field is named as a whole
    return spot


def _said(spot: Spot) -> str:
    begin = f'{spot.entry}: ' if spot.entry else ''
    if spot.key:
        return f'{begin}{spot.key} must be {spot.need}, got {shown(spot.value)}'
    if spot.kind is not None and isinstance(spot.value, dict):
        return begin + _wrong_keys(spot.value, spot.kind)
    return f'{begin}an object is needed, got {shown(spot.value)}'


def _need(kind: inspect.Type) -> str:
    """The description of a field, or a word for its type."""
    if isinstance(kind, inspect.Metadata) and kind.extra_json_schema:
        return str(kind.extra_json_schema['description'])
    kind = core(kind)
    if isinstance(kind, (inspect.ListType, inspect.VarTupleType)):
        return 'a list'
    return 'an object' if isinstance(kind, (inspect.DictType, inspect.StructType)) else 'otherwise'


def _wrong_keys(value: dict[str, Any], kind: inspect.StructType) -> str:
    known = [field.encode_name for field in kind.fields]
    unknown = [key for key in value if key not in known]
    missing = [f.encode_name for f in kind.fields if f.required and f.encode_name not in value]
    if missing:
        near = nearest(missing[0], unknown)
        instead = f'; {near!r} is there instead' if near else ''
        return f'the key {missing[0]!r} is missing{instead}'
    if not unknown:
        raise LookupError('nothing is wrong with the keys of this object')
    return f'unknown key {unknown_names(unknown, known)}; known are {known}'
