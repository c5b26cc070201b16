"""Files that are written whole or not at all, whether one is still whole, and reading with
patience.
"""

import contextlib
import errno
import json
import logging
import os
import os.path as osp
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

from mmengine.logging import print_log

from mmdynakd.errors import UnreachableError, UserError

T = TypeVar('T')
WAITS = (0.5, 1, 2, 4, 8)  # seconds between two tries
PASSING = {
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EAGAIN,
    errno.ENOTCONN,
    errno.EBUSY,
    errno.EINTR,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENOTRECOVERABLE,
}
NESTING = 100
TEMPORARY = re.compile(r'.+\.\d+\.tmp$')


def write_bytes(folder: str, name: str, content: bytes) -> str:
    """Writes ``folder/name`` whole or not at all, whatever kills the process or the machine;
    returns its path.

    Raises:
        OSError: the disk is full, read-only …; what was there before is left.
    """
    path = osp.join(folder, name)
    temporary = f'{path}.{os.getpid()}.tmp'
    try:
        with open(temporary, 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, path) from error
        raise
    return path


def write_text(folder: str, name: str, text: str) -> str:
    """As :func:`write_bytes`, in UTF-8."""
    return write_bytes(folder, name, text.encode())


def write_json(folder: str, name: str, content: Any) -> str:
    """As :func:`write_text`, of JSON without NaN or infinity."""
    return write_text(
        folder, name, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + '\n'
    )


def remove_temporaries(folder: str) -> None:
    """Removes what a killed process had begun to write in ``folder``."""
    for entry in os.scandir(folder):
        if TEMPORARY.match(entry.name) and entry.is_file():
            os.remove(entry.path)


def read_json(path: str) -> Any:
    """What a JSON file holds; NaN, infinity and a key twice in one object are refused.

    Raises:
        UserError: the file is missing, cannot be read, or is no such JSON; the message names it.
    """
    try:
        text = patiently(lambda: _text(path), path)
        _check_nesting(text)
        return json.loads(
            text, parse_constant=_refuse_constant, object_pairs_hook=_without_repetition
        )
    except UnreachableError:
        raise
    except FileNotFoundError as error:
        raise UserError(f'{path} is missing') from error
    except OSError as error:
        raise UserError(f'{path} cannot be read ({error.strerror or error})') from error
    except UnicodeDecodeError as error:
        raise UserError(
            f'{path} is no UTF-8 text (byte {error.start}): it is damaged, or another kind of file'
        ) from error
    except ValueError as error:
        raise UserError(
            f'{path} is no JSON ({error}): it is cut short, or was edited wrongly'
        ) from error


def _check_nesting(text: str) -> None:
    """Python's parser recurses, to the end of the process where somebody has raised the recursion
    limit.
    """
    depth = 0
    for mark in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{\]}]', text):
        depth += {'[': 1, '{': 1, ']': -1, '}': -1}.get(mark.group(), 0)
        if depth > NESTING:
            raise ValueError('nested too deep')


def patiently(
    action: Callable[[], T], path: str | os.PathLike, sleep: Callable[[float], None] | None = None
) -> T:
    """What ``action``, which reads ``path``, gives; tried again where the file system seems to be
    away for a while.

    Again after errors that pass (EIO, ESTALE, ETIMEDOUT …), and where the file is missing along
    with the folders that lead to it, up to an empty one or a mount point: a file system that is not
    mounted. Six tries in 15.5 s.

    Args:
        action: without effects that a second call would disturb.
        path: for messages, and for the folders that lead to it.
        sleep: waits for seconds; ``time.sleep``.

    Raises:
        UnreachableError: the last try failed like the others. Every other exception of ``action``
            at once.
    """
    for tries, wait in enumerate((*WAITS, None), 1):
        try:
            return action()
        except OSError as error:
            if not (
                error.errno in PASSING or (error.errno == errno.ENOENT and _is_unmounted(path))
            ):
                raise
            if wait is None:
                raise UnreachableError(
                    f'{path} cannot be read: {error.strerror or error}, {tries} times in '
                    f'{sum(WAITS):g} s; check that its file system is mounted and answers (ls '
                    f'{osp.dirname(osp.abspath(path))}), then run the same command again'
                ) from error
            print_log(
                f'{path}: {error.strerror or error}; try {tries + 1} of {len(WAITS) + 1} in '
                f'{wait:g} s',
                'current',
                logging.WARNING,
            )
        (sleep or time.sleep)(wait)


def _is_unmounted(path: str | os.PathLike) -> bool:
    """Whether the folder of ``path`` is missing, and the last one on the way to it is empty or a
    mount point.
    """
    folder = osp.dirname(osp.abspath(path))
    if osp.isdir(folder):
        return False
    while not osp.isdir(folder) and folder != osp.dirname(folder):
        folder = osp.dirname(folder)
    return osp.ismount(folder) or not os.listdir(folder)


def _text(path: str) -> str:
    with open(path, encoding='utf-8') as file:
        return file.read()


def _refuse_constant(name: str):
    raise ValueError(f'it holds {name}, which is no number')


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(
            f'the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice'
        )
    return found
