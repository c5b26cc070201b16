"""The one reader and writer of values."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, inspect

from mmdynakd.errors import UserError
from mmdynakd.files import read_json, write_json

from .base import Value
from .mistakes import core, mistake, shown

FORMAT = (
    1  # of the files that this version writes; files without a number are older, and read alike
)
MORE = 'more'  # the field in which a class keeps keys that this version does not know

V = TypeVar('V', bound=Value)


class NewerFormatError(UserError):
    """A newer version of this package wrote the file."""


def read(path: str, kind: type[V], remedy: str) -> V:
    """Reads a value from a JSON file and checks it.

    Args:
        path: of the file.
        kind: the class of the value.
        remedy: what to do about a file that is wrong; ends the message.

    Raises:
        UserError: the file is missing or is not JSON, has a newer format, or does not hold such a
            value; the message names file, entry, key and remedy.

    Examples:
        >>> import tempfile
        >>> from mmdynakd.values import ThetaPoint
        >>> point = ThetaPoint(step=10, lane='search', theta=dict(a=1.0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write(folder, 'point.json', point)
        ...     read(path, ThetaPoint, 'write it again') == point
        True
    """
    content = read_json(path)
    if isinstance(content, dict):
        _check_format(path, content.pop('format', FORMAT), remedy)
    try:
        value = typed(content, kind)
    except msgspec.ValidationError as error:
        raise UserError(f'{path}: {mistake(error, content, kind)}; {remedy}') from error
    try:
        value.check()
    except ValueError as error:
        raise UserError(f'{path}: {error}; {remedy}') from error
    return value


def write(folder: str, name: str, value: Value) -> str:
    """Writes a value to ``folder/name`` as JSON, whole or not at all, the format's number first.

    Returns:
        The path.

    Raises:
        OSError: the file cannot be written.
        ValueError: a number is NaN or infinite.

    Examples:
        >>> import tempfile
        >>> from mmdynakd.values import ThetaPoint
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write(folder, 'point.json', ThetaPoint(step=1, lane='a', theta={}))
        ...     print(open(path).read().split()[:3])
        ['{', '"format":', '1,']
    """
    return write_json(folder, name, {'format': FORMAT, **plain(value)})


def typed(content: Any, kind: type[V]) -> V:
    """The value that JSON content stands for; neither numbers nor names are changed.

    Raises:
        msgspec.ValidationError: the content does not stand for such a value.

    Examples:
        >>> from mmdynakd.values import ThetaPoint
        >>> typed(dict(step=1, lane='a', theta={}), ThetaPoint)
        ThetaPoint(step=1, lane='a', theta={})
    """
    return msgspec.convert(_gathered(content, inspect.type_info(kind)), kind)


def plain(value: Any) -> Any:
    """A value as JSON has it: objects, lists, text and numbers, absent fields left out.

    Examples:
        >>> from mmdynakd.values import ThetaPoint
        >>> plain(ThetaPoint(step=1, lane='a', theta=dict(b=1.0)))
        {'step': 1, 'lane': 'a', 'theta': {'b': 1.0}}
    """
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.asdict(value)
        more = fields.pop(MORE, {})
        return {**{k: plain(v) for k, v in fields.items() if v is not UNSET}, **more}
    if isinstance(value, Mapping):
        return {key: plain(child) for key, child in value.items()}
    return [plain(child) for child in value] if isinstance(value, (list, tuple)) else value


def _gathered(content: Any, kind: inspect.Type) -> Any:
    """The content with unknown keys put together under ``more``, in objects that keep them."""
    kind = core(kind)
    if isinstance(kind, inspect.StructType) and isinstance(content, dict):
        types = {field.encode_name: field.type for field in kind.fields if field.name != MORE}
        found = {k: _gathered(v, types[k]) if k in types else v for k, v in content.items()}
        if len(types) == len(kind.fields):
            return found
        more = {key: found.pop(key) for key in content if key not in types}
        return {**found, MORE: more}
    if isinstance(kind, inspect.VarTupleType) and isinstance(content, (list, tuple)):
        return [_gathered(child, kind.item_type) for child in content]
    return content


def _check_format(path: str, number: Any, remedy: str) -> None:
    if type(number) is not int or number < 1:
        raise UserError(f'{path}: format must be an integer >= 1, got {shown(number)}; {remedy}')
    if number > FORMAT:
        raise NewerFormatError(
            f'{path} has format {number}, which a newer version of mmdynakd wrote; this version '
            f'reads formats up to {FORMAT}: upgrade mmdynakd (pip install --upgrade mmdynakd)'
        )
