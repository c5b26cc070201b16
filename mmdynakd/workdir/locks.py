"""Who trains in a folder: a file lock, held until its process ends, whatever ends it."""

import logging
import os
import os.path as osp

from filelock import FileLock, Timeout
from mmengine.logging import print_log

LOCK = 'run.lock'
_held: dict[str, FileLock] = {}


def lock(folder: str) -> bool:
    """Take a folder for this process, which may take it several times.

    On a file system without locks the folder counts as taken, with a warning.

    Args:
        folder: an existing folder.

    Returns:
        False where another process holds it.

    Raises:
        OSError: the lock's file cannot be written.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> lock(folder), lock(folder), is_locked(folder)
        (True, True, True)
        >>> unlock(folder)
        >>> is_locked(folder)
        False
    """
    key = osp.realpath(folder)
    if key in _held:
        return True
    path = osp.join(folder, LOCK)
    with open(path, 'a'):  # an error here is the folder's, a later one that of its locks
        pass
    # Without flock, filelock's stand-in would be a file that a killed process leaves behind.
    own = FileLock(path, blocking=False, thread_local=False, fallback_to_soft=False)
    try:
        own.acquire()
    except Timeout:
        return False
    except (OSError, NotImplementedError) as error:
        print_log(
            f'{folder} cannot be locked ({error}): start no second run in it',
            'current',
            logging.WARNING,
        )
    _held[key] = own
    return True


def is_locked(folder: str) -> bool:
    """Whether this process holds a folder.

    Examples:
        See :func:`lock`.
    """
    return osp.realpath(folder) in _held


def unlock(folder: str) -> None:
    """Let another process have a folder; without effect where this process does not hold it.

    Examples:
        See :func:`lock`.
    """
    own = _held.pop(osp.realpath(folder), None)
    if own is not None:
        own.release()


def unlock_all() -> None:
    """Let other processes have every folder that this process holds.

    Examples:
        >>> unlock_all()
    """
    for folder in list(_held):
        unlock(folder)


if hasattr(os, 'register_at_fork'):
    # A data loader's worker may outlive a killed run. filelock closes its copy of the lock; here it
    # must not count as the holder.
    os.register_at_fork(after_in_child=_held.clear)
