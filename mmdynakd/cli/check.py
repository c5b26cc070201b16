"""Checks the teachers of a config, or that a run which is killed ends as one that is not.

mmdynakd check teachers CONFIG [--split val test] [--out FILE.json]
mmdynakd check determinism CONFIG [--kills 5] [--seed 0]
"""

import argparse

from .arguments import add_config, config_of, description_of

TEACHERS = """Checks teachers before training: accuracy, calibration, agreement, cost.

It finds the usual silent failures too. The teachers run as in training: raw pixels of the
config's loaders, each under its own preprocessor. Nothing is selected on test; its accuracy
serves one warning (a teacher that has seen val). Without --split, test is used if the config has
a test_dataloader. The table goes to stdout, progress to stderr; --work-dir keeps teachers.md and
teachers.json.
"""
DETERMINISM = """Checks that a run killed at random moments ends like one left alone.

Trains twice, so make the config short, e.g. --cfg-options train_cfg.max_epochs=3. Says of θ, of
every lane's weights, of optimizers, schedulers and results whether they are equal bit for bit.
Exits with 1 if anything differs.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``mmdynakd check``.

    Examples:
        >>> parser = argparse.ArgumentParser()
        >>> add_arguments(parser)
        >>> parser.parse_args(['determinism', 'a.py', '--kills', '2']).kills
        2
    """
    kinds = parser.add_subparsers(metavar='KIND', required=True)
    teachers = kinds.add_parser('teachers', **description_of(TEACHERS))
    add_config(teachers)
    teachers.add_argument(
        '--split', nargs='+', choices=['val', 'test'], help='splits to run (val is always run)'
    )
    teachers.add_argument('--out', metavar='FILE', help='write the report there, as JSON')
    teachers.set_defaults(check=check_teachers, error=teachers.error)
    determinism = kinds.add_parser('determinism', **description_of(DETERMINISM))
    add_config(determinism)
    determinism.add_argument('--kills', type=int, default=5, help='default: 5')
    determinism.add_argument(
        '--seed', type=int, default=0, help='of the moments of the kills; default: 0'
    )
    determinism.set_defaults(check=check_determinism)


def run(args: argparse.Namespace) -> int:
    """Runs the check that is asked for; its exit code.

    Examples:
        >>> from mmdynakd.cli.main import parse
        >>> run(parse(['check', 'teachers', 'dynakd_r56_cifar100.py']))  # doctest: +SKIP
        0
    """
    return int(args.check(args))


def check_teachers(args: argparse.Namespace) -> int:
    """Prints the report on the teachers; always 0.

    Examples:
        >>> from mmdynakd.cli.main import parse
        >>> check_teachers(parse(['check', 'teachers', 'dynakd_digits.py']))  # doctest: +SKIP
        0
    """
    from mmdynakd.launch.checks import report_teachers

    if args.launcher != 'none':
        args.error('--launcher: the teachers are checked in one process')
    report_teachers(config_of(args), args.split, args.work_dir, args.out)
    return 0


def check_determinism(args: argparse.Namespace) -> int:
    """Prints what is equal; 1 if anything differs.

    Examples:
        >>> from mmdynakd.cli.main import parse
        >>> check_determinism(parse(['check', 'determinism', 'a.py']))  # doctest: +SKIP
        0
    """
    from mmdynakd.launch.checks import survives_kills

    return 0 if survives_kills(config_of(args), args.kills, args.seed) else 1
