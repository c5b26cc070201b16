"""Runs all methods of a benchmark config over its seeds and writes one table.

    python tools/benchmark.py CONFIG [--work-dir DIR] [--seeds S …] [--cfg-options k=v …]

What is finished is not run again, what was interrupted goes on: the same command completes the
table.
"""

import argparse

from mmdynakd.cli.arguments import add_common_arguments, load_config
from mmdynakd.diagnostics.tool import run_tool
from mmdynakd.study.run import run_study


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser)
    parser.add_argument(
        '--seeds', type=int, nargs='+', help="run these alone now (default: the config's)"
    )
    args = parser.parse_args()
    table = run_study(load_config(args), args.seeds)
    with open(table, encoding='utf-8') as file:
        print(f'\n{file.read()}\nwritten to {table}')


if __name__ == '__main__':
    run_tool(main)
