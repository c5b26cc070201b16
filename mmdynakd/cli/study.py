"""Runs all methods of a study over its seeds and writes one table.

    mmdynakd study CONFIG [--work-dir DIR] [--seeds SEED …] [--cfg-options KEY=VALUE …]

What is finished is not run again, what was interrupted goes on: the same command completes the
table.
"""

import argparse

from .arguments import add_config, config_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``mmdynakd study``.

    Examples:
        >>> parser = argparse.ArgumentParser()
        >>> add_arguments(parser)
        >>> parser.parse_args(['a.py', '--seeds', '0', '1']).seeds
        [0, 1]
    """
    add_config(parser)
    parser.add_argument(
        '--seeds', type=int, nargs='+', help="run only these now (default: the config's)"
    )


def run(args: argparse.Namespace) -> None:
    """Runs what is missing and prints the table.

    Examples:
        >>> from mmdynakd.cli.main import parse
        >>> run(parse(['study', 'benchmarks/digits_all_methods.py']))  # doctest: +SKIP
    """
    from mmdynakd.study.run import run_study

    table = run_study(config_of(args), args.seeds)
    with open(table, encoding='utf-8') as file:
        print(f'\n{file.read()}\nwritten to {table}')
