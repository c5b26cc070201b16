"""Trains a config: a teacher, a DynaKD search with its evaluation, or any MMEngine config.

    mmdynakd train CONFIG [--work-dir DIR] [--fresh | --resume [CKPT]] [--amp]
                          [--cfg-options KEY=VALUE …]

A run that was cut off goes on when the same command is given again, and ends as if it had not
been.
"""

import argparse

from .arguments import add_config, config_of

NEWEST = 'newest'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``mmdynakd train``.

    Examples:
        >>> parser = argparse.ArgumentParser()
        >>> add_arguments(parser)
        >>> parser.parse_args(['a.py', '--resume']).resume
        'newest'
    """
    add_config(parser)
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        '--resume',
        nargs='?',
        const=NEWEST,
        metavar='CKPT',
        help='go on from CKPT, or from the newest checkpoint of the work dir, '
        'even if settings differ',
    )
    start.add_argument(
        '--fresh',
        action='store_true',
        help='start over; what is in the work dir moves to a folder beside it',
    )
    parser.add_argument(
        '--amp', action='store_true', help='automatic mixed precision, for every optimizer'
    )


def run(args: argparse.Namespace) -> None:
    """Trains, or goes on.

    Examples:
        >>> from mmdynakd.cli.main import parse
        >>> run(parse(['train', 'dynakd_digits.py']))  # doctest: +SKIP
    """
    from mmdynakd.launch.config import use_amp
    from mmdynakd.launch.run import train

    cfg = config_of(args)
    if args.amp:
        use_amp(cfg)
    train(cfg, args.resume, args.fresh)
