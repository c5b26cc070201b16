"""Files that are written whole or not at all, whether one is still whole, and reading that names what is wrong."""
import contextlib
import json
import os
import os.path as osp
import re
import zipfile
from typing import Any

from mmdynakd.errors import UserError

TEMPORARY = re.compile(r'.+\.\d+\.tmp$')


def write_bytes(folder: str, name: str, content: bytes) -> str:
    """Writes ``folder/name`` whole or not at all, whatever kills the process or the machine; returns its path.

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
    return write_text(folder, name, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + '\n')


def remove_temporaries(folder: str) -> None:
    """Removes what a killed process had begun to write in ``folder``."""
    for entry in os.scandir(folder):
        if TEMPORARY.match(entry.name) and entry.is_file():
            os.remove(entry.path)


def damage_of_archive(path: str) -> str | None:
    """What is wrong with a file that ``torch.save`` wrote, by the CRC-32 of each of its records; None if nothing is.

    ``torch.load`` compares none of them: a flipped byte in a weight would pass.
    """
    try:
        if not zipfile.is_zipfile(path):
            return 'it is cut short, or no checkpoint'
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except Exception as error:  # damaged headers raise anything
        return f'{type(error).__name__}: {error}'
    return None if broken is None else f'the checksum of its record {broken} is wrong'


def read_json(path: str) -> Any:
    """What a JSON file holds; NaN, infinity and a key twice in one object are refused.

    Raises:
        UserError: the file is missing, cannot be read, or is no such JSON; the message names it.
    """
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file, parse_constant=_refuse_constant, object_pairs_hook=_without_repetition)
    except FileNotFoundError as error:
        raise UserError(f'{path} is missing') from error
    except OSError as error:
        raise UserError(f'{path} cannot be read ({error.strerror or error})') from error
    except UnicodeDecodeError as error:
        raise UserError(f'{path} is no UTF-8 text (byte {error.start}): it is damaged, or another kind of file') \
            from error
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} is no JSON ({error or "nested too deep"}): it is cut short, or was edited wrongly') \
            from error


def _refuse_constant(name: str):
    raise ValueError(f'it holds {name}, which is no number')


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f'the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice')
    return found
