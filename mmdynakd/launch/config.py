"""A config: found by path or name, read, and merged with what the command line says."""

import argparse
import os
import os.path as osp
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.utils import import_modules_from_strings

from mmdynakd.diagnostics.keys import check_config, check_options
from mmdynakd.errors import UserError
from mmdynakd.names import suggestion

PACKAGE = Path(__file__).resolve().parents[1]


def load_config(
    name: str,
    options: Sequence[str] = (),
    work_dir: str | None = None,
    launcher: str = 'none',
    local_rank: int = 0,
) -> Config:
    """A config as a command runs it.

    Args:
        name: path of a file, or name of a config that comes with the package.
        options: overrides, ``'KEY=VALUE'``.
        work_dir: by default the config's own, else ``work_dirs/<config name>``.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        local_rank: this process's on its machine, unless the launcher has set ``LOCAL_RANK``.

    Raises:
        UserError: there is no such config, or a key that nobody would read; see also
            :func:`read_config`.

    Examples:
        >>> cfg = load_config('dynakd_digits.py', ['train_cfg.max_epochs=2'])
        >>> cfg.train_cfg.max_epochs, cfg.work_dir
        (2, 'work_dirs/dynakd_digits')
    """
    os.environ.setdefault('LOCAL_RANK', str(local_rank))
    cfg = read_config(find_config(name))
    overrides = parse_options(options)
    if overrides:
        check_options(overrides, cfg, '--cfg-options')
        cfg.merge_from_dict(overrides)
    check_config(cfg)
    cfg.launcher = launcher
    keep_teacher_order(cfg)
    stem = osp.splitext(osp.basename(name))[0]
    cfg.work_dir = work_dir or cfg.get('work_dir') or osp.join('work_dirs', stem)
    return cfg


def find_config(name: str) -> str:
    """Path of a config: ``name`` itself where that is a file, else one that comes with us.

    Args:
        name: a path, or a name below the package's configs: ``'dynakd_digits.py'``,
            ``'teachers/resnet20_digits.py'``, with ``configs/`` in front or not.

    Raises:
        UserError: neither; the message has the nearest name.

    Examples:
        >>> find_config('dynakd_digits.py').endswith('configs/dynakd_digits.py')
        True
        >>> find_config('dynakd_digit.py')
        Traceback (most recent call last):
        mmdynakd.errors.UserError: there is no config file dynakd_digit.py (did you mean ...
    """
    if osp.exists(name):
        return name
    shipped, folder = dict(_shipped()), name.removeprefix('configs/')
    if folder in shipped:
        return shipped[folder]
    raise UserError(f'there is no config file {name}{suggestion(folder, shipped)}')


def _shipped() -> Iterator[tuple[str, str]]:
    """Name and path of each config that comes with the package, without the parts of others."""
    folder = configs_folder()
    for path in sorted(folder.rglob('*.py')):
        name = path.relative_to(folder)
        if name.parts[0] != '_base_':
            yield name.as_posix(), str(path)


def configs_folder() -> Path:
    """The configs that come with the package, where MIM looks for them too.

    Examples:
        >>> (configs_folder() / 'dynakd_digits.py').is_file()
        True
    """
    return (PACKAGE / '.mim' / 'configs').resolve()  # in a checkout a link to configs/


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """What ``--cfg-options KEY=VALUE …`` says, parsed as MMEngine's tools do.

    Raises:
        UserError: a word without ``=``.

    Examples:
        >>> parse_options(['train_cfg.max_epochs=2', 'optim_wrapper.type=OptimWrapper'])
        {'train_cfg.max_epochs': 2, 'optim_wrapper.type': 'OptimWrapper'}
    """
    wrong = next((word for word in words if '=' not in word), None)
    if wrong is not None:
        raise UserError(f'--cfg-options takes KEY=VALUE …, got {wrong!r}')
    options = argparse.Namespace()
    DictAction((), 'found')(argparse.ArgumentParser(), options, words)
    return dict(options.found)


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
        raise UserError(f'{path} (or a base of it) is not UTF-8 text: {error}') from error
    except SyntaxError as error:
        line = f', line {error.lineno}' if error.lineno else ''
        raise UserError(f'{path} (or a base of it) is not Python{line}: {error.msg}') from error


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


def use_amp(cfg: Config) -> None:
    """Sets AmpOptimWrapper for the one optimizer, or for the student's and θ's.

    Examples:
        >>> cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper')))
        >>> use_amp(cfg)
        >>> cfg.optim_wrapper.type
        'AmpOptimWrapper'
    """
    wrappers = [cfg.optim_wrapper[key] for key in ('student', 'theta') if key in cfg.optim_wrapper]
    for wrapper in wrappers or [cfg.optim_wrapper]:
        wrapper.type = 'AmpOptimWrapper'


def import_custom(cfg: Config) -> None:
    """Do what reading a config file does with its ``custom_imports``.

    Examples:
        >>> wanted = dict(imports=['json'], allow_failed_imports=False)
        >>> import_custom(Config(dict(custom_imports=wanted)))
    """
    if cfg.get('custom_imports'):
        import_modules_from_strings(**cfg.custom_imports)
