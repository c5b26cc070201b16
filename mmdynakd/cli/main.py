"""``mmdynakd COMMAND …``: finds the command, parses its arguments and runs it."""

import argparse
import importlib
import shlex
import sys
from collections.abc import Sequence

from mmdynakd.version import __version__

from .arguments import description_of

COMMANDS = ('train', 'evaluate', 'study', 'test', 'check', 'export', 'report', 'demo')


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command; exits with its code where that is not 0.

    Args:
        arguments: words of the command line; by default those of this process.

    Examples:
        >>> main(['--version'])
        Traceback (most recent call last):
        SystemExit: 0
    """
    args = parse(sys.argv[1:] if arguments is None else arguments)
    from mmdynakd.diagnostics.tool import run_tool

    run_tool(lambda: args.run(args))


def tool(*command: str) -> None:
    """Runs a script of ``tools/``: a command whose other words are those given to the script.

    Examples:
        >>> tool('train')  # doctest: +SKIP
    """
    main([*command, *sys.argv[1:]])


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The arguments in the words of a command line.

    ``command`` is how to give them again. What follows ``--`` becomes ``extra`` where the command
    passes such words on, and is an error elsewhere.

    Examples:
        >>> args = parse(['evaluate', 'work', '--executor', 'slurm', '--', '--time=1:00'])
        >>> args.executor, args.extra
        ('slurm', ['--time=1:00'])
    """
    words, extra = list(words), []
    if '--' in words:
        place = words.index('--')
        words, extra = words[:place], words[place + 1 :]
    parser = build_parser()
    args = parser.parse_args(words)
    if extra:
        if 'extra' not in args:
            parser.error(f'unrecognized arguments: -- {shlex.join(extra)}')
        args.extra = extra
    args.command = shlex.join(['mmdynakd', *words, *(['--', *extra] if extra else [])])
    return args


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands.

    Each is a module of this package that has a docstring, ``add_arguments(parser)`` and
    ``run(args)``, which may return an exit code.

    Examples:
        >>> build_parser().parse_args(['train', 'dynakd_digits.py', '--fresh']).fresh
        True
    """
    parser = argparse.ArgumentParser(
        prog='mmdynakd',
        description='Multi-teacher knowledge distillation that learns which teacher to draw.',
        epilog='mmdynakd COMMAND --help explains a command.',
    )
    parser.add_argument('--version', action='version', version=f'mmdynakd {__version__}')
    commands = parser.add_subparsers(metavar='COMMAND', required=True)
    for name in COMMANDS:
        module = importlib.import_module(f'{__package__}.{name}')
        command = commands.add_parser(name, **description_of(module.__doc__))
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser
