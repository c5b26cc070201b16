"""Who trains in a folder: a file lock, held until its process ends, by whatever end."""

import functools
import logging
import os
import os.path as osp
from typing import IO

from mmengine.logging import print_log

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

LOCK = 'run.lock'
_held: dict[str, IO] = {}


def lock(folder: str) -> bool:
    """Takes the folder for this process; False where another one holds it (on one file system that
    has such locks).
    """
    key = osp.realpath(folder)
    if fcntl is None or key in _held:
        return True
    _leave_to_the_parent()
    file = open(osp.join(folder, LOCK), 'w')  # noqa: SIM115  held until the process ends
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    except OSError as error:  # a file system without locks
        print_log(
            f'{folder} cannot be locked ({error}): start no second run in it',
            'current',
            logging.WARNING,
        )
    _held[key] = file
    return True


def is_locked(folder: str) -> bool:
    """Whether this process holds the folder."""
    return osp.realpath(folder) in _held


def unlock(folder: str) -> None:
    """Lets another process have the folder; without effect where this one does not hold it."""
    file = _held.pop(osp.realpath(folder), None)
    if file is not None:
        file.close()


def unlock_all() -> None:
    while _held:
        _held.popitem()[1].close()


@functools.lru_cache
def _leave_to_the_parent() -> None:
    """A data loader's worker that outlives a killed run must not hold its lock."""
    os.register_at_fork(after_in_child=unlock_all)
