"""A work dir in which a run that never began leaves nothing."""
import contextlib
import os
import os.path as osp
import re
import shutil
from collections.abc import Callable, Iterator

from mmdynakd.files import write_bytes

from .runs import LOCK, RUN, unlock

LOG_FOLDER = re.compile(r'\d{8}_\d{6}')  # MMEngine's


@contextlib.contextmanager
def left_alone_unless(begun: Callable[[], bool], folder: str) -> Iterator[None]:
    """Where the block fails and ``begun()`` is false, takes back what the start of a run put into its work dir.

    That is MMEngine's new log folder, the config that it dumps, ``run.json`` and its lock; those of an earlier run are
    put back as they were.
    """
    existed, before = osp.isdir(folder), _entries(folder)
    try:
        yield
    except BaseException:
        if not begun():
            with contextlib.suppress(OSError):  # the error at hand matters more
                _take_back(folder, before)
                if not existed:
                    os.rmdir(folder)
        raise


def _entries(folder: str) -> dict[str, bytes | None]:
    """Names in the folder, with the content of those that a start writes anew."""
    found = {}
    for name in os.listdir(folder) if osp.isdir(folder) else ():
        path = osp.join(folder, name)
        found[name] = None
        if (name.endswith('.py') or name == RUN) and osp.isfile(path):
            with open(path, 'rb') as file:
                found[name] = file.read()
    return found


def _take_back(folder: str, before: dict[str, bytes | None]) -> None:
    if LOCK not in before:
        unlock(folder)
    for name, content in _entries(folder).items():
        path = osp.join(folder, name)
        if name in before and content != before[name]:
            write_bytes(folder, name, before[name])
        elif name not in before and LOG_FOLDER.fullmatch(name):
            shutil.rmtree(path)
        elif name not in before and (content is not None or name == LOCK):
            os.remove(path)
