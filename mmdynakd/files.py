"""Files that are written whole or not at all, and whether one is still whole."""
import contextlib
import json
import os
import os.path as osp
import re
import zipfile
from typing import Any

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
