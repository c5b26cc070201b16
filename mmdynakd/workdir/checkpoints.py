"""Checkpoints of a run: written whole, verified before they are taken, the newest intact one found."""

import logging
import os
import os.path as osp
import re
from pathlib import Path

from mmengine.config import Config
from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import print_log

from mmdynakd.errors import CheckpointError
from mmdynakd.files import write_bytes, write_text
from mmdynakd.safe_load import read_checkpoint

ATOMIC = 'mmdynakd.atomic'
TEMPLATES = ('epoch_{}.pth', 'iter_{}.pth')


@register_backend(ATOMIC, force=True)
class AtomicBackend(LocalBackend):
    """MMEngine's local files, each written whole or not at all."""

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        os.makedirs(osp.dirname(filepath), exist_ok=True)
        write_bytes(*osp.split(filepath), obj)

    def put_text(self, obj: str, filepath: str | os.PathLike, encoding: str = 'utf-8') -> None:
        self.put(obj.encode(encoding), filepath)


def newest_checkpoint(cfg: Config) -> str | None:
    """The newest intact checkpoint in the work dir; None where there is none.

    A damaged one is passed over, with a warning that names it.
    """
    for path in saved_checkpoints(cfg):
        damage = damage_of(path)
        if damage is None:
            return path
        print_log(f'{path} {damage}: passed over for the one before', 'current', logging.WARNING)
    return None


def damage_of(path: str) -> str | None:
    """What is wrong with a checkpoint, read whole: its checksums, and what it would run; None if
    nothing is.
    """
    try:
        read_checkpoint(Path(path))
    except CheckpointError as error:
        return str(error)
    return None


def saved_checkpoints(cfg: Config) -> list[str]:
    """The work dir's own checkpoints, the newest first."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    templates = {*TEMPLATES, hook.get('filename_tmpl')} - {None}
    folder = hook.get('out_dir') and osp.join(
        hook['out_dir'], osp.basename(osp.normpath(cfg.work_dir))
    )
    folder = folder or cfg.work_dir
    numbered = {}
    for name in os.listdir(folder) if osp.isdir(folder) else ():
        for template in templates:
            found = re.fullmatch(
                r'(\d+)'.join(map(re.escape, re.split(r'\{[^}]*\}', template, maxsplit=1))), name
            )
            if found and found.groups():
                numbered[osp.join(folder, name)] = int(found.group(1))
    return sorted(numbered, key=numbered.get, reverse=True)


def note_newest(work_dir: str, path: str) -> None:
    """MMEngine's note of the newest checkpoint, which its own ``resume=True`` reads."""
    write_text(work_dir, 'last_checkpoint', path)
