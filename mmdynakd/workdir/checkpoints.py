"""A run's checkpoints: written whole, verified before use, the newest intact one found."""

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
    """MMEngine's local files, each written whole or not at all.

    Examples:
        >>> import tempfile
        >>> path = osp.join(tempfile.mkdtemp(), 'new', 'a.txt')
        >>> AtomicBackend().put_text('whole', path)
        >>> open(path).read()
        'whole'
    """

    def put(self, obj: bytes, filepath: str | os.PathLike[str]) -> None:
        """Write bytes to a file, whose folder is made if need be."""
        folder, name = osp.split(filepath)
        os.makedirs(folder, exist_ok=True)
        write_bytes(folder, name, obj)

    def put_text(self, obj: str, filepath: str | os.PathLike[str], encoding: str = 'utf-8') -> None:
        """Write text to a file, whose folder is made if need be."""
        self.put(obj.encode(encoding), filepath)


def newest_checkpoint(cfg: Config) -> str | None:
    """Path of the newest intact checkpoint in the work dir; None where there is none.

    Damaged ones are passed over, each with a warning that names it.

    Examples:
        >>> newest_checkpoint(Config(dict(work_dir='no/such/folder'))) is None
        True
    """
    for path in saved_checkpoints(cfg):
        damage = damage_of(path)
        if damage is None:
            return path
        print_log(f'{path} {damage}: passed over for the one before', 'current', logging.WARNING)
    return None


def damage_of(path: str) -> str | None:
    """What is wrong with a checkpoint; None if nothing is.

    The file is read whole: its checksums, and whether loading it would run code.

    Examples:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     damage_of(file.name)  # doctest: +ELLIPSIS
        'is damaged, cut short or not a PyTorch checkpoint (0 bytes; ...)'
    """
    try:
        read_checkpoint(Path(path))
    except CheckpointError as error:
        return str(error)
    return None


def saved_checkpoints(cfg: Config) -> list[str]:
    """Paths of the run's own checkpoints, the newest first.

    Args:
        cfg: with its ``work_dir``; the checkpoint hook's ``filename_tmpl`` and ``out_dir`` count.

    Examples:
        >>> import tempfile
        >>> work = tempfile.mkdtemp()
        >>> for name in ('epoch_2.pth', 'epoch_10.pth', 'student.pth'):
        ...     Path(work, name).touch()
        >>> [osp.basename(path) for path in saved_checkpoints(Config(dict(work_dir=work)))]
        ['epoch_10.pth', 'epoch_2.pth']
    """
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    templates = {*TEMPLATES, hook.get('filename_tmpl') or TEMPLATES[0]}
    folder = cfg.work_dir
    if hook.get('out_dir'):  # MMEngine makes a folder of the run's name in it
        folder = osp.join(hook['out_dir'], osp.basename(osp.normpath(cfg.work_dir)))
    patterns = [_pattern(template) for template in templates]
    numbered: dict[str, int] = {}
    for name in os.listdir(folder) if osp.isdir(folder) else ():
        for found in filter(None, (pattern.fullmatch(name) for pattern in patterns)):
            if found.groups():
                numbered[osp.join(folder, name)] = int(found.group(1))
    return sorted(numbered, key=lambda path: numbered[path], reverse=True)


def _pattern(template: str) -> re.Pattern[str]:
    """Matches the names that a template such as ``epoch_{}.pth`` gives, with their number."""
    parts = re.split(r'\{[^}]*\}', template, maxsplit=1)
    return re.compile(r'(\d+)'.join(map(re.escape, parts)))


def note_newest(work_dir: str, path: str) -> None:
    """Write MMEngine's own note of the newest checkpoint, which its ``resume=True`` reads.

    Examples:
        >>> import tempfile
        >>> work = tempfile.mkdtemp()
        >>> note_newest(work, 'epoch_1.pth')
        >>> os.listdir(work)
        ['last_checkpoint']
    """
    write_text(work_dir, 'last_checkpoint', path)
