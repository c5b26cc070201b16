"""A run and its work dir: begun, gone on with, or left as it is because it is finished."""

import logging
import os
import os.path as osp
from typing import Any, TypedDict, cast

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log

from mmdynakd.errors import UserError
from mmdynakd.files import read_json, remove_temporaries, write_json

from .checkpoints import damage_of, newest_checkpoint, saved_checkpoints
from .identity import as_json, comparable, differences, versions
from .locks import lock, unlock

RUN = 'run.json'
NEWEST = 'newest'


class RunError(UserError):
    """A work dir cannot take this run; the message names it and the remedy.

    Examples:
        >>> isinstance(RunError('work_dirs/a holds another run'), UserError)
        True
    """


class RunInUseError(RunError):
    """Another process trains in the work dir.

    Examples:
        >>> isinstance(RunInUseError('work_dirs/a is in use'), RunError)
        True
    """


class RunNote(TypedDict):
    """What a work dir's ``run.json`` says of its run.

    Attributes:
        finished: whether the run has come to its end.
        filename: of the config, None where it came from none.
        work: the settings that make the run's work, see :func:`.identity.comparable`.
        versions: of this package, Python and others at the run's start.
        config: the whole config, in its order.

    Examples:
        >>> RunNote(finished=False, filename=None, work={}, versions={}, config={})['finished']
        False
    """

    finished: bool
    filename: str | None
    work: dict[str, Any]
    versions: dict[str, str]
    config: dict[str, Any]


def begin(cfg: Config, resume: str | None = None, fresh: bool = False) -> bool:
    """Set a config to go on where its work dir has got to; the first process decides for all.

    Without ``resume`` and ``fresh``, an unfinished run of the same work goes on from its newest
    intact checkpoint, a finished one is left alone, and one of other settings is an error. The work
    dir's ``run.json`` holds the config; its ``run.lock`` is held until the process ends, so that no
    two runs share a work dir (on a file system that has such locks).

    Args:
        cfg: with its ``work_dir``; ``resume`` and ``load_from`` are set.
        resume: a checkpoint, or ``'newest'``: go on from it though settings differ.
        fresh: move what is there to ``<work dir>.1`` (or .2, …), and start over.

    Returns:
        Whether there is something to train.

    Raises:
        RunError: the work dir holds another run, is in use (:class:`RunInUseError`) or cannot be
            written, or ``resume`` is damaged.

    Examples:
        >>> import tempfile
        >>> cfg = Config(dict(work_dir=tempfile.mkdtemp(), lr=0.1))
        >>> begin(cfg)
        True
        >>> finish(cfg)
        >>> begin(cfg)  # doctest: +ELLIPSIS
        /... holds this very run, finished: nothing to do (--fresh starts over and keeps ...)
        False
        >>> unlock(cfg.work_dir)
    """
    decision: list[Any] = [None]
    if is_main_process():
        try:
            decision[0] = _decide(cfg, resume, fresh)
        except (RunError, OSError) as error:
            decision[0] = error
    broadcast_object_list(decision)
    if isinstance(decision[0], OSError):
        raise RunError(
            f'the work dir {cfg.work_dir} cannot be used ({decision[0]}): free some space, or give '
            'another --work-dir'
        ) from decision[0]
    if isinstance(decision[0], RunError):
        raise decision[0]
    wanted, checkpoint = cast('tuple[bool, str | None]', decision[0])
    cfg.resume = checkpoint is not None
    if cfg.resume:
        cfg.load_from = checkpoint
    return wanted


def finish(cfg: Config) -> None:
    """Note in the work dir that the run has come to its end.

    Examples:
        See :func:`begin`.
    """
    if is_main_process():
        note = read_run(cfg.work_dir) or _note(cfg)
        write_json(cfg.work_dir, RUN, {**note, 'finished': True})


def set_aside(folder: str) -> None:
    """Move the run in a folder, if there is one, to ``<folder>.1`` (or .2, …).

    Raises:
        RunInUseError: a process trains in it.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> _ = write_json(folder, RUN, {})
        >>> set_aside(folder)  # doctest: +ELLIPSIS
        what was in /... is in /....1 now
        >>> os.listdir(f'{folder}.1')
        ['run.json', 'run.lock']
    """
    os.makedirs(folder, exist_ok=True)
    _take(folder)
    try:
        _move_aside(folder)
    finally:
        unlock(folder)


def holds(cfg: Config) -> bool:
    """Whether the work dir holds a run of this very work, finished or not.

    Examples:
        >>> holds(Config(dict(work_dir='no/such/folder')))
        False
    """
    try:
        run = read_run(cfg.work_dir)
    except RunError:
        return False
    return run is not None and run['work'] == comparable(cfg)


def read_run(work_dir: str) -> RunNote | None:
    """The ``run.json`` of a work dir; None without one.

    Raises:
        RunError: it cannot be read.

    Examples:
        >>> read_run('no/such/folder') is None
        True
    """
    path = osp.join(work_dir, RUN)
    if not osp.exists(path):
        return None
    remedy = (
        'mmdynakd train --fresh starts over beside what is there, --resume goes on from the newest '
        'checkpoint'
    )
    try:
        run = read_json(path)
    except UserError as error:
        raise RunError(f'{error}; {remedy}') from error
    if not isinstance(run, dict) or not all(
        isinstance(run.get(key), dict) for key in ('config', 'work', 'versions')
    ):
        raise RunError(
            f"{path} is no note of a run: its 'config', 'work' and 'versions' must be objects; "
            f'{remedy}'
        )
    return cast('RunNote', run)


def _decide(cfg: Config, resume: str | None, fresh: bool) -> tuple[bool, str | None]:
    """Whether to train, and the checkpoint to go on from; notes the run in its work dir."""
    folder = cfg.work_dir
    _check_whole(resume)
    os.makedirs(folder, exist_ok=True)
    _take(folder)
    if fresh:
        _move_aside(folder)
    before = read_run(folder) if resume is None else None
    if before is None and resume is None and saved_checkpoints(cfg):
        raise RunError(
            f'{folder} holds checkpoints, but no {RUN} says of what: mmdynakd train --resume goes '
            'on from the newest, --fresh starts over beside them, or give another --work-dir'
        )
    note = _note(cfg)
    if before is not None:
        _check_same(folder, before['work'], note['work'])
        if before.get('finished') is True:
            print(
                f'{folder} holds this very run, finished: nothing to do '
                '(--fresh starts over and keeps what is there)',
                flush=True,
            )
            return False, None
        _compare_versions(before['versions'], note['versions'])
    remove_temporaries(folder)
    checkpoint = resume if resume not in (None, NEWEST) else newest_checkpoint(cfg)
    write_json(folder, RUN, note)
    _say_where_it_begins(folder, checkpoint, before is not None or resume is not None)
    return True, checkpoint


def _check_whole(resume: str | None) -> None:
    """Raises where ``resume`` names a checkpoint that cannot be resumed from."""
    if resume in (None, NEWEST):
        return
    damage = damage_of(resume) if osp.isfile(resume) else 'is missing'
    if damage:
        raise RunError(
            f'--resume: {resume} {damage}; --resume alone takes the newest intact checkpoint of '
            'the work dir'
        )


def _say_where_it_begins(folder: str, checkpoint: str | None, was_there: bool) -> None:
    if checkpoint is not None:
        print(
            f'{folder} holds an unfinished run: it goes on from {checkpoint} '
            '(--fresh would start over)',
            flush=True,
        )
    elif was_there:
        print(f'{folder} has no intact checkpoint: the run starts from its beginning', flush=True)


def _note(cfg: Config) -> RunNote:
    return RunNote(
        finished=False,
        filename=cfg.filename,
        work=comparable(cfg),
        versions=versions(),
        config=as_json(cfg.to_dict()),
    )


def _check_same(folder: str, before: dict[str, Any], now: dict[str, Any]) -> None:
    differing = differences(before, now)
    if differing:
        settings = '\n  '.join([f'{folder} holds a run with other settings:', *differing])
        raise RunError(
            f'{settings}\nmmdynakd train --resume goes on with the new ones, --fresh starts over '
            'beside it; or give another --work-dir'
        )


def _compare_versions(before: dict[str, str], now: dict[str, str]) -> None:
    changed = [
        f'{name} {before.get(name)} → {now.get(name)}'
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if changed:
        print_log(
            f"other versions than at the run's start: {', '.join(changed)}; its end may differ "
            'from that of an uninterrupted run',
            'current',
            logging.WARNING,
        )


def _move_aside(folder: str) -> None:
    """Moves a folder that holds a run to a name with a number, and takes the empty one."""
    holds_run = osp.exists(osp.join(folder, RUN))
    if not holds_run and not saved_checkpoints(Config(dict(work_dir=folder))):
        return
    number = 1
    while osp.exists(f'{osp.normpath(folder)}.{number}'):
        number += 1
    aside = f'{osp.normpath(folder)}.{number}'
    unlock(folder)
    os.rename(folder, aside)
    print(f'what was in {folder} is in {aside} now', flush=True)
    os.makedirs(folder)
    _take(folder)


def _take(folder: str) -> None:
    if not lock(folder):
        raise RunInUseError(
            f'another process is training in {folder}: wait for it, or give another --work-dir'
        )
