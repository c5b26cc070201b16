"""A work dir in which a run that never began leaves nothing."""

import contextlib
import os
import os.path as osp
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mmengine.config import Config

from mmdynakd.errors import frames_of
from mmdynakd.files import write_bytes

from .locks import LOCK, is_locked, unlock
from .runs import RUN

if TYPE_CHECKING:
    from mmengine.runner import Runner


@contextlib.contextmanager
def left_alone_unless(begun: Callable[[], bool], cfg: Config) -> Iterator[None]:
    """Take back what the start of a run put into its work dir, if the run fails before it began.

    That is the log folder of MMEngine's Runner and the config that it dumped, ``run.json`` and its
    lock; those of an earlier run are put back as they were. What another process may have put there
    stays.

    Args:
        begun: asked when the block has failed; True leaves everything in place.
        cfg: with its ``work_dir``.

    Examples:
        >>> import tempfile
        >>> from mmdynakd.workdir.runs import begin
        >>> cfg = Config(dict(work_dir=osp.join(tempfile.mkdtemp(), 'work')))
        >>> with contextlib.suppress(ValueError), left_alone_unless(lambda: False, cfg):
        ...     _ = begin(cfg)
        ...     raise ValueError('a mistake in the config')
        >>> osp.exists(cfg.work_dir)
        False
    """
    folder, dumped = cfg.work_dir, osp.basename(cfg.filename or '')
    names = set(os.listdir(folder)) if osp.isdir(folder) else None
    before = {name: _content(osp.join(folder, name)) for name in (RUN, dumped) if name}
    try:
        yield
    except BaseException as error:
        if not begun():
            with contextlib.suppress(OSError):  # the error at hand matters more
                _take_back(folder, names or set(), before, _runner(error))
            if names is None:
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        raise


def _take_back(
    folder: str, names: set[str], before: dict[str, bytes | None], runner: 'Runner | None'
) -> None:
    log = getattr(runner, 'log_dir', None)  # a half-built one has none
    if log and osp.basename(log) not in names:
        shutil.rmtree(log, ignore_errors=True)
    ours = is_locked(folder)
    for name, content in before.items():
        path = osp.join(folder, name)
        may_have_changed = ours if name == RUN else runner is not None
        if may_have_changed and _content(path) != content:
            if content is None:
                os.remove(path)
            else:
                write_bytes(folder, name, content)
    if ours and LOCK not in names:
        unlock(folder)
        os.remove(osp.join(folder, LOCK))


def _runner(error: BaseException) -> 'Runner | None':
    """The Runner that was at work, whole or half built."""
    from mmengine.runner import Runner  # imported by then, if there is one

    for frame, _ in frames_of(error):
        if isinstance(frame.f_locals.get('self'), Runner):
            return frame.f_locals['self']
    return None


def _content(path: str) -> bytes | None:
    if not osp.isfile(path):
        return None
    with open(path, 'rb') as file:
        return file.read()
