"""A run and its work dir: begun, gone on with, or left as it is because it is finished."""

import json
import logging
import os
import os.path as osp
from typing import Any

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process, master_only
from mmengine.logging import print_log

from mmdynakd.errors import UserError
from mmdynakd.files import read_json, remove_temporaries, write_json

from .checkpoints import damage_of, newest_checkpoint, saved_checkpoints
from .identity import versions
from .locks import lock, unlock
from .settings import comparable, differences

RUN = 'run.json'
NEWEST = 'newest'


class RunError(UserError):
    """A work dir cannot take this run; the message names it and the remedy."""


class RunInUse(RunError):
    """Another process trains in the work dir."""


def begin(cfg: Config, resume: str | None = None, fresh: bool = False) -> bool:
    """Sets a config to go on where its work dir has got to; the first process decides for all.

    Without ``resume`` and ``fresh``, an unfinished run of the same work goes on from its newest
    intact checkpoint, a finished one is left alone, and one of other settings is an error. The work
    dir's ``run.json`` holds the config; its ``run.lock`` is held until the process ends, so that no
    two runs share a work dir (of one file system that has such locks).

    Args:
        cfg: with its ``work_dir``; ``resume`` and ``load_from`` are set.
        resume: a checkpoint, or ``'newest'``: goes on from it though settings differ.
        fresh: what is there moves to ``<work dir>.1`` (or .2, …), and the run starts over.

    Returns:
        Whether there is something to train.

    Raises:
        RunError: if the work dir holds another run, is in use (:class:`RunInUse`) or cannot be
            written, or ``resume`` is damaged.
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
            'another '
            '--work-dir'
        ) from decision[0]
    if isinstance(decision[0], RunError):
        raise decision[0]
    wanted, checkpoint = decision[0]
    cfg.resume = checkpoint is not None
    if cfg.resume:
        cfg.load_from = checkpoint
    return wanted


@master_only
def finish(cfg: Config) -> None:
    """Notes that the run has come to its end."""
    write_json(cfg.work_dir, RUN, dict(read_run(cfg.work_dir) or _note(cfg), finished=True))


def set_aside(folder: str) -> None:
    """Moves the run in ``folder``, if there is one, to ``<folder>.1`` (or .2, …).

    Raises:
        RunInUse: if a process trains in it.
    """
    os.makedirs(folder, exist_ok=True)
    _take(folder)
    try:
        _move_aside(folder)
    finally:
        unlock(folder)


def holds(cfg: Config) -> bool:
    """Whether the work dir holds a run of this very work, finished or not."""
    try:
        run = read_run(cfg.work_dir)
    except RunError:
        return False
    return run is not None and run['work'] == comparable(cfg)


def read_run(work_dir: str) -> dict | None:
    """The ``run.json`` of a work dir, None without one.

    It has ``config`` (all of it, as a mapping in its order), ``filename``, ``work``, ``versions``
    and ``finished``.

    Raises:
        RunError: if it cannot be read.
    """
    path = osp.join(work_dir, RUN)
    if not osp.exists(path):
        return None
    remedy = 'mmdynakd train --fresh starts over beside what is there, --resume goes on from the newest checkpoint'
    try:
        run = read_json(path)
    except UserError as error:
        raise RunError(f'{error}; {remedy}') from error
    if not isinstance(run, dict) or not all(
        isinstance(run.get(key), dict) for key in ('config', 'work', 'versions')
    ):
        raise RunError(
            f"{path} is no note of a run, of which 'config', 'work' and 'versions' are objects; "
            f'{remedy}'
        )
    return run


def _decide(cfg: Config, resume: str | None, fresh: bool) -> tuple[bool, str | None]:
    """Whether to train, and the checkpoint to go on from; notes the run in its work dir."""
    folder = cfg.work_dir
    if resume not in (None, NEWEST):
        damage = damage_of(resume) if osp.isfile(resume) else 'is missing'
        if damage:
            raise RunError(
                f'--resume: {resume} {damage}; --resume alone takes the newest intact checkpoint '
                'of the '
                'work dir'
            )
    os.makedirs(folder, exist_ok=True)
    _take(folder)
    if fresh:
        _move_aside(folder)
    before = read_run(folder) if resume is None else None
    if before is None and resume is None and saved_checkpoints(cfg):
        raise RunError(
            f'{folder} holds checkpoints, but no {RUN} says of what: mmdynakd train --resume goes '
            'on '
            'from the newest, --fresh starts over beside them, or give another --work-dir'
        )
    note = _note(cfg)
    if before is not None:
        _check_same(folder, before['work'], note['work'])
        if before.get('finished') is True:
            print(
                f'{folder} holds this very run, finished: nothing to do (--fresh starts over and '
                'keeps what is '
                'there)',
                flush=True,
            )
            return False, None
        _compare_versions(before['versions'], note['versions'])
    remove_temporaries(folder)
    checkpoint = resume if resume not in (None, NEWEST) else newest_checkpoint(cfg)
    write_json(folder, RUN, note)
    if checkpoint is not None:
        print(
            f'{folder} holds an unfinished run: it goes on from {checkpoint} (--fresh would start '
            'over)',
            flush=True,
        )
    elif before is not None or resume is not None:
        print(f'{folder} has no intact checkpoint: the run starts from its beginning', flush=True)
    return True, checkpoint


def _note(cfg: Config) -> dict:
    config = json.loads(json.dumps(cfg.to_dict(), default=repr), parse_constant=str)
    return dict(
        finished=False,
        filename=cfg.filename,
        work=comparable(cfg),
        versions=versions(),
        config=config,
    )


def _check_same(folder: str, before: dict, now: dict) -> None:
    differing = differences(before, now)
    if differing:
        raise RunError(
            '\n  '.join([f'{folder} holds a run with other settings:', *differing])
            + '\nmmdynakd train --resume goes on with the new ones, --fresh starts over beside it; or give '
            'another --work-dir'
        )


def _compare_versions(before: dict, now: dict) -> None:
    changed = [
        f'{name} {before.get(name)} → {now.get(name)}'
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if changed:
        print_log(
            f"other versions than at the run's start: {', '.join(changed)}; its end may differ "
            'from that of an '
            'uninterrupted run',
            'current',
            logging.WARNING,
        )


def _move_aside(folder: str) -> None:
    if not saved_checkpoints(Config(dict(work_dir=folder))) and not osp.exists(
        osp.join(folder, RUN)
    ):
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
        raise RunInUse(
            f'another process is training in {folder}: wait for it, or give another --work-dir'
        )
