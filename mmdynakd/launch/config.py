"""A config file, read."""

import os.path as osp
from collections.abc import Mapping

from mmengine.config import Config

from mmdynakd.errors import UserError


def read_config(path: str) -> Config:
    """The config in a file.

    Args:
        path: of a Python, YAML or JSON config, which may have ``_base_`` files.

    Raises:
        UserError: there is no such file, or it (or a base of it) is not UTF-8 text or not Python.
            Whatever else its lines raise passes through.

    Examples:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile('w', suffix='.py') as file:
        ...     _ = file.write('lr = 0.1'), file.flush()
        ...     read_config(file.name).lr
        0.1
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
    """Note the order of the teachers in the config, since MMEngine sorts keys when it dumps one.

    Examples:
        >>> cfg = Config(dict(model=dict(teachers=dict(strong={}, alpha={}))))
        >>> keep_teacher_order(cfg)
        >>> cfg.model.teacher_order
        ['strong', 'alpha']
    """
    if isinstance(cfg.get('model', {}).get('teachers'), Mapping):
        cfg.model.setdefault('teacher_order', list(cfg.model.teachers))
