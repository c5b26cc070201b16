"""The whole method on real data in minutes: digits, three teachers, search and evaluation.

    mmdynakd demo [--work-dir DIR] [--cfg-options KEY=VALUE …]

The data are scikit-learn's; nothing is downloaded. What the work dir already holds is not trained
again, and what was cut off goes on; delete the folder to start over.
"""

import argparse

from .arguments import add_debug, add_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``mmdynakd demo``.

    Examples:
        >>> parser = argparse.ArgumentParser()
        >>> add_arguments(parser)
        >>> parser.parse_args([]).work_dir
        'work_dirs/demo'
    """
    parser.add_argument('--work-dir', default='work_dirs/demo', help='default: %(default)s')
    add_options(parser)
    add_debug(parser)


def run(args: argparse.Namespace) -> None:
    """Trains the teachers, then searches and evaluates.

    Examples:
        >>> from mmdynakd.cli.main import parse
        >>> run(parse(['demo']))  # doctest: +SKIP
    """
    from mmdynakd.study.demo import run_demo

    run_demo(args.work_dir, args.cfg_options)
