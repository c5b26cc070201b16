"""Arguments that several commands share."""

import argparse
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from mmengine.config import Config


class Description(TypedDict):
    """What ``add_parser`` takes to describe a command.

    Examples:
        >>> Description(help='a', description='A.', formatter_class=argparse.HelpFormatter)['help']
        'a'
    """

    help: str
    description: str
    formatter_class: type[argparse.HelpFormatter]


def description_of(text: str | None) -> Description:
    """From a module's docstring: its first line for the list of commands, all of it for its help.

    Examples:
        >>> description_of('Tests a checkpoint.')['help']
        'tests a checkpoint'
    """
    text = text or ''
    first = text.partition('\n')[0].rstrip('.')
    return Description(
        help=first[:1].lower() + first[1:],
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_debug(parser: argparse.ArgumentParser) -> None:
    """Adds ``--debug``.

    Examples:
        >>> parser = argparse.ArgumentParser()
        >>> add_debug(parser)
        >>> parser.parse_args(['--debug']).debug
        True
    """
    parser.add_argument('--debug', action='store_true', help='show the traceback of every error')


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds ``--cfg-options``, as words that MMEngine parses once the config is read.

    Examples:
        >>> parser = argparse.ArgumentParser()
        >>> add_options(parser)
        >>> parser.parse_args(['--cfg-options', 'train_cfg.max_epochs=2']).cfg_options
        ['train_cfg.max_epochs=2']
    """
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        default=[],
        metavar='KEY=VALUE',
        help='override settings of the config, e.g. train_cfg.max_epochs=10',
    )


def add_config(parser: argparse.ArgumentParser) -> None:
    """Adds the config and what goes with it: its overrides, the work dir, the launcher.

    Examples:
        >>> parser = argparse.ArgumentParser()
        >>> add_config(parser)
        >>> parser.parse_args(['a.py', '--cfg-options', 'x=1', 'y=2']).cfg_options
        ['x=1', 'y=2']
    """
    parser.add_argument(
        'config', help='config file, or the name of one that comes with the package'
    )
    parser.add_argument(
        '--work-dir',
        help='where logs, checkpoints and results go (default: work_dirs/<config name>)',
    )
    add_options(parser)
    add_debug(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)


def config_of(args: argparse.Namespace) -> 'Config':
    """The config that the arguments of :func:`add_config` name.

    Raises:
        UserError: there is no such file, or a key that nobody would read.

    Examples:
        >>> parser = argparse.ArgumentParser()
        >>> add_config(parser)
        >>> args = parser.parse_args(['dynakd_digits.py', '--work-dir', 'work'])
        >>> config_of(args).work_dir
        'work'
    """
    from mmdynakd.launch.config import load_config

    return load_config(args.config, args.cfg_options, args.work_dir, args.launcher, args.local_rank)
