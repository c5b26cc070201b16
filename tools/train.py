"""Trains a config: a teacher, a DynaKD search with its evaluation, anything MMEngine's Runner
takes.

    python tools/train.py CONFIG [--work-dir DIR] [--fresh | --resume [CKPT]] [--amp] [--cfg-options
    k=v …]

A run that was cut off goes on when the same command is given again, and ends as if it had not been.
"""

import argparse

from mmdynakd.cli.arguments import add_common_arguments, load_config
from mmdynakd.diagnostics.tool import run_tool
from mmdynakd.launch.run import train
from mmdynakd.workdir.runs import NEWEST


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser)
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        '--resume',
        nargs='?',
        const=NEWEST,
        metavar='CKPT',
        help='go on from CKPT, or from the newest checkpoint of the work dir, though settings differ',
    )
    start.add_argument(
        '--fresh',
        action='store_true',
        help='start over; what is in the work dir moves to a folder beside it',
    )
    parser.add_argument(
        '--amp', action='store_true', help='automatic mixed precision, for every optimizer'
    )
    args = parser.parse_args()
    cfg = load_config(args)
    if args.amp:
        use_amp(cfg)
    train(cfg, args.resume, args.fresh)


def use_amp(cfg) -> None:
    """Sets AmpOptimWrapper for the one optimizer, or for the student's and θ's."""
    wrappers = [cfg.optim_wrapper[key] for key in ('student', 'theta') if key in cfg.optim_wrapper]
    for wrapper in wrappers or [cfg.optim_wrapper]:
        wrapper.type = 'AmpOptimWrapper'


if __name__ == '__main__':
    run_tool(main)
