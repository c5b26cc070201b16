"""Files that are written whole or not at all, and read with patience.

This is the only file of the package that writes under a temporary name and renames.
"""

import contextlib
import errno
import json
import logging
import os
import os.path as osp
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

from mmengine.logging import print_log

from mmdynakd.errors import UnreachableError, UserError

T = TypeVar('T')
Path = str | os.PathLike[str]
WAITS = (0.5, 1, 2, 4, 8)  # seconds between two tries
# Errors of a file system that may be back in a moment.
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
NESTING = 100  # levels of JSON
TEMPORARY = re.compile(r'.+\.(tmp\d+|\d+\.tmp)$')  # the second form: versions up to 0.1.0


@contextlib.contextmanager
def whole(path: Path, overwrite: bool = True) -> Iterator[str]:
    """Gives a temporary path; the file written there becomes ``path`` when the block ends.

    The file reaches the disk before it gets its name. So a reader finds the old file or all of the
    new one, whatever kills the process or the machine. If the block raises, the temporary is
    removed and what was at ``path`` stays. :func:`remove_temporaries` removes what a killed process
    leaves behind.

    Args:
        path: the file to write; its folder exists.
        overwrite: if False, a file that is at ``path`` by the end of the block is kept instead:
            of several processes, the first one wins.

    Yields:
        A path in the same folder, for the block to write to.

    Raises:
        OSError: the disk is full, the folder is read-only, and the like.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with whole(osp.join(folder, 'a.txt')) as temporary:
        ...     with open(temporary, 'w') as file:
        ...         _ = file.write('all of it')
        >>> os.listdir(folder)
        ['a.txt']
    """
    path = os.fspath(path)
    # The ending holds no dot: torch.save names the archive inside a file after the file without
    # its ending, and a process id there would make equal checkpoints differ.
    temporary = f'{path}.tmp{os.getpid()}'
    try:
        yield temporary
        with open(temporary, 'r+b') as file:
            os.fsync(file.fileno())
        if overwrite:
            os.replace(temporary, path)
        else:
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
            os.remove(temporary)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise


def write_bytes(folder: str, name: str, content: bytes) -> str:
    """Writes ``folder/name`` whole or not at all; see :func:`whole`.

    Returns:
        The file's path.

    Raises:
        OSError: as :func:`whole`, with the file's path instead of the temporary's.

    Examples:
        >>> import tempfile
        >>> path = write_bytes(tempfile.mkdtemp(), 'a.bin', b'123')
        >>> os.path.getsize(path)
        3
    """
    path = osp.join(folder, name)
    try:
        with whole(path) as temporary, open(temporary, 'wb') as file:
            file.write(content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    return path


def write_text(folder: str, name: str, text: str) -> str:
    """Writes text in UTF-8; otherwise as :func:`write_bytes`.

    Examples:
        >>> import tempfile
        >>> os.path.getsize(write_text(tempfile.mkdtemp(), 'a.txt', 'θ'))
        2
    """
    return write_bytes(folder, name, text.encode())


def write_json(folder: str, name: str, content: Any) -> str:
    """Writes JSON; otherwise as :func:`write_text`.

    Raises:
        ValueError: ``content`` holds NaN or infinity.

    Examples:
        >>> import tempfile
        >>> read_json(write_json(tempfile.mkdtemp(), 'a.json', dict(θ=[0.5, 0.5])))
        {'θ': [0.5, 0.5]}
    """
    return write_text(
        folder, name, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + '\n'
    )


def remove_temporaries(folder: Path, older_than: float = 0) -> None:
    """Removes what killed processes had begun to write directly in ``folder``.

    Args:
        folder: an existing folder.
        older_than: seconds; younger temporaries stay, since another process may be writing them.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> open(osp.join(folder, 'a.json.tmp1234'), 'w').close()
        >>> remove_temporaries(folder)
        >>> os.listdir(folder)
        []
    """
    for entry in os.scandir(folder):
        if TEMPORARY.match(entry.name) and entry.is_file():
            with contextlib.suppress(FileNotFoundError):  # another process came first
                if not older_than or time.time() - entry.stat().st_mtime > older_than:
                    os.remove(entry.path)


def read_json(path: str) -> Any:
    """Reads a JSON file; refuses NaN, infinity, and an object that has one key twice.

    Raises:
        UserError: the file is missing, cannot be read, or is not such JSON; the message names it.
        UnreachableError: its file system does not answer; see :func:`patiently`.

    Examples:
        >>> import tempfile
        >>> read_json(write_text(tempfile.mkdtemp(), 'a.json', '{"a": 1}'))
        {'a': 1}
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
            f'{path} is not UTF-8 text (byte {error.start}): it is damaged, or another kind of file'
        ) from error
    except ValueError as error:
        raise UserError(
            f'{path} is not valid JSON ({error}): it is cut short, or was edited wrongly'
        ) from error


def _check_nesting(text: str) -> None:
    """Refuses deep nesting: json recurses, and crashes where the recursion limit was raised."""
    depth = 0
    for mark in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{\]}]', text):
        depth += {'[': 1, '{': 1, ']': -1, '}': -1}.get(mark.group(), 0)
        if depth > NESTING:
            raise ValueError('nested too deep')


def patiently(
    action: Callable[[], T], path: Path, sleep: Callable[[float], None] | None = None
) -> T:
    """Returns what ``action``, which reads ``path``, gives; tries again if the file system is away.

    It tries six times in 15.5 s, after errors that may pass (EIO, ESTALE, ETIMEDOUT and the like).
    It also tries again if the file is missing together with the folders that lead to it, up to an
    empty folder or a mount point: that looks like a file system that is not mounted.

    Args:
        action: reads, and may be called again.
        path: named in messages; the folders that lead to it are looked at.
        sleep: waits for so many seconds; ``time.sleep`` by default.

    Raises:
        UnreachableError: the last try failed like the others. Every other exception of ``action``
            is raised at once.

    Examples:
        >>> patiently(lambda: 'what it says', '/data/a.json')
        'what it says'
    """
    tries = 0
    while True:
        tries += 1
        try:
            return action()
        except OSError as error:
            if not _may_pass(error, path):
                raise
            if tries > len(WAITS):
                raise UnreachableError(
                    f'{path} cannot be read: {error.strerror or error}, {tries} times in '
                    f'{sum(WAITS):g} s; check that its file system is mounted and answers '
                    f'(ls {osp.dirname(osp.abspath(path))}), then run the same command again'
                ) from error
            print_log(
                f'{path}: {error.strerror or error}; '
                f'try {tries + 1} of {len(WAITS) + 1} in {WAITS[tries - 1]:g} s',
                'current',
                logging.WARNING,
            )
        (sleep or time.sleep)(WAITS[tries - 1])


def _may_pass(error: OSError, path: Path) -> bool:
    return error.errno in PASSING or (error.errno == errno.ENOENT and _is_unmounted(path))


def _is_unmounted(path: Path) -> bool:
    """Whether the folder of ``path`` is missing below an empty folder or a mount point."""
    folder = osp.dirname(osp.abspath(path))
    if osp.isdir(folder):
        return False
    while not osp.isdir(folder) and folder != osp.dirname(folder):
        folder = osp.dirname(folder)
    return osp.ismount(folder) or not os.listdir(folder)


def _text(path: str) -> str:
    with open(path, encoding='utf-8') as file:
        return file.read()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f'it holds {name}, which is not a number')


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(
            f'the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice'
        )
    return found
