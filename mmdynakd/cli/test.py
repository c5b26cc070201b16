"""Tests a checkpoint: an exported student, or any config with its checkpoint.

    mmdynakd test CONFIG CHECKPOINT [--out FILE] [--cfg-options KEY=VALUE …]

An exported student is the pair student.py student.pth of a finished run.
"""

import argparse

from .arguments import add_config, config_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``mmdynakd test``.

    Examples:
        >>> parser = argparse.ArgumentParser()
        >>> add_arguments(parser)
        >>> parser.parse_args(['student.py', 'student.pth']).checkpoint
        'student.pth'
    """
    add_config(parser)
    parser.add_argument('checkpoint', help='weights to test')
    parser.add_argument('--out', metavar='FILE', help='write the metrics there, as JSON')


def run(args: argparse.Namespace) -> None:
    """Tests, and writes the metrics where that is asked.

    Examples:
        >>> from mmdynakd.cli.main import parse
        >>> run(parse(['test', 'student.py', 'student.pth']))  # doctest: +SKIP
    """
    from mmdynakd.launch.checks import checkpoint_metrics

    checkpoint_metrics(config_of(args), args.checkpoint, args.out)
