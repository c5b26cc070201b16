"""Writes student.pth, student.py and student.yml again, of the chosen student or another lane's.

    mmdynakd export WORK_DIR [--lane LANE] [--seed SEED] [--out DIR]
    mmdynakd export CHECKPOINT --lane LANE [--out DIR]

WORK_DIR is that of a finished run. CHECKPOINT is one of several lanes, in the folder of its run,
e.g. WORK_DIR/evaluation/epoch_240.pth.
"""

import argparse
import os

from .arguments import add_debug


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``mmdynakd export``.

    Examples:
        >>> parser = argparse.ArgumentParser()
        >>> add_arguments(parser)
        >>> parser.parse_args(['work', '--lane', 'ce']).lane
        'ce'
    """
    parser.add_argument('source', help='work dir of a finished run, or a checkpoint of lanes')
    parser.add_argument('--lane', help='whose student (default: the lane that was chosen)')
    parser.add_argument('--seed', type=int, help='which student, where there are several seeds')
    parser.add_argument('--out', metavar='DIR', help='where to (default: the folder of the run)')
    add_debug(parser)


def run(args: argparse.Namespace) -> None:
    """Exports, and says where the files are.

    Examples:
        >>> from mmdynakd.cli.main import parse
        >>> run(parse(['export', 'work_dirs/demo/dynakd']))  # doctest: +SKIP
        student: work_dirs/demo/dynakd/student.pth (config student.py)
    """
    from mmdynakd.evaluation.export_again import export_again

    if args.out:
        os.makedirs(args.out, exist_ok=True)
    path = export_again(args.source, args.lane, args.seed, args.out)
    print(f'student: {path} (config student.py)')
