"""A config file, read."""

import os.path as osp
from collections.abc import Mapping

from mmengine.config import Config

from mmdynakd.errors import UserError


def read_config(path: str) -> Config:
    """The config in a file.

    Raises:
        UserError: there is no such file, or it is no UTF-8 text. What its lines raise, they raise.
    """
    if not osp.isfile(path):
        raise UserError(
            f'there is no config file {path}{" (it is a folder)" if osp.isdir(path) else ""}'
        )
    try:
        return Config.fromfile(path)
    except UnicodeDecodeError as error:
        raise UserError(f'{path} (or a base of it) is no UTF-8 text: {error}') from error
    except SyntaxError as error:
        line = f', line {error.lineno}' if error.lineno else ''
        raise UserError(f'{path} (or a base of it) is no Python{line}: {error.msg}') from error


def keep_teacher_order(cfg: Config) -> None:
    """Writes the order of the teachers into the config: MMEngine sorts keys when it dumps one to
    the work dir.
    """
    if isinstance(cfg.get('model', {}).get('teachers'), Mapping):
        cfg.model.setdefault('teacher_order', list(cfg.model.teachers))
