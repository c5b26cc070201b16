"""Evaluates the candidates of a search as independent runs: here, on Ray or under Slurm.

    mmdynakd evaluate RESULTS_DIR [--executor local|ray|slurm|…] [--seeds SEED …]
                                  [-- SBATCH_ARGUMENT …]

RESULTS_DIR is the work dir of the search, also of one with evaluate=False in its hook. Each
candidate and baseline is trained with each seed in a run of its own, in
RESULTS_DIR/runs/<lane>-seed<k>. The results are those of the evaluation side by side. The same
command goes on where an earlier one stopped; what is finished is not run again.
"""

import argparse
import dataclasses
import signal
import sys
from collections.abc import Callable

from .arguments import add_debug

SHIPPED = ('local', 'ray', 'slurm')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``mmdynakd evaluate``.

    Examples:
        >>> parser = argparse.ArgumentParser()
        >>> add_arguments(parser)
        >>> parser.parse_args(['work', '--jobs', '2']).jobs
        2
    """
    parser.add_argument('results_dir', help='work dir of the search')
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        '--executor',
        default='local',
        help='where the runs go: local, ray, slurm, or one that a module in the custom_imports of '
        "the search's config registers (default: local)",
    )
    where.add_argument('--engine', choices=SHIPPED, help=argparse.SUPPRESS)  # its old name
    parser.add_argument(
        '--seeds',
        type=int,
        nargs='+',
        help="train one student of each lane with each seed (default: the search's seed)",
    )
    parser.add_argument(
        '--jobs',
        type=at_least(1),
        help='runs at a time; local and slurm (default: local, as many as there are GPUs for, '
        'or one without GPUs; slurm, as Slurm sees fit)',
    )
    parser.add_argument(
        '--cpus-per-run',
        type=at_least(1),
        help='threads of a run (default: local, the cores divided by --jobs; otherwise 1)',
    )
    parser.add_argument(
        '--gpus-per-run',
        type=at_least(0),
        help='0, or as many as the search had processes (default: local, that many where there '
        'are GPUs; otherwise 0)',
    )
    parser.add_argument(
        '--address', help='ray: of the cluster (default: RAY_ADDRESS, or only this machine)'
    )
    parser.add_argument(
        '--retries',
        type=at_least(0),
        default=3,
        help='ray: tries for a run whose worker or node was lost (default: 3)',
    )
    parser.add_argument('--partition', help='slurm: where to')
    parser.add_argument(
        '--submit-only', action='store_true', help='slurm: do not wait for the runs'
    )
    add_debug(parser)
    parser.set_defaults(error=parser.error, extra=[])


def at_least(least: int) -> Callable[[str], int]:
    """A type of argument: whole numbers from ``least`` on.

    Examples:
        >>> at_least(1)('3')
        3
    """

    def number(word: str) -> int:
        value = int(word)
        if value < least:
            raise argparse.ArgumentTypeError(f'must be >= {least}')
        return value

    return number


def run(args: argparse.Namespace) -> int | None:
    """Starts the runs and waits for them; an exit code where they did not all finish.

    Examples:
        >>> from mmdynakd.cli.main import parse
        >>> run(parse(['evaluate', 'work_dirs/x', '--executor', 'ray']))  # doctest: +SKIP
    """
    check(args)
    from mmdynakd.diagnostics.tool import LATER
    from mmdynakd.evaluation import RunsFailedError, check_lanes, evaluate, read_plan
    from mmdynakd.evaluation.executors.request import Request, make_executor

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the executor is stopped
    plan = read_plan(args.results_dir, args.seeds)
    asked = {f.name: getattr(args, f.name) for f in dataclasses.fields(Request) if f.name in args}
    place = dict(results_dir=plan.results_dir, processes=plan.processes)
    executor = make_executor(Request(**{**asked, **place}))
    check_lanes(plan)
    again = f'the same command goes on where this one stopped:\n  {args.command}'
    try:
        evaluate(plan, executor, submit_only=args.submit_only)
    except RunsFailedError as error:
        print(f'error: {error}\n{again}', file=sys.stderr)
        return LATER
    except KeyboardInterrupt:
        print(f'\ninterrupted; {again}', file=sys.stderr)
        return 130
    return None


def check(args: argparse.Namespace) -> None:
    """Refuses arguments that do not go together; takes ``--engine`` for ``--executor``.

    Examples:
        >>> from mmdynakd.cli.main import parse
        >>> args = parse(['evaluate', 'work_dirs/x', '--engine', 'ray'])
        >>> check(args)
        >>> args.executor
        'ray'
    """
    if args.engine:
        print('--engine is now called --executor; the next version drops --engine', file=sys.stderr)
        args.executor = args.engine
    if args.executor in ('local', 'ray') and (args.submit_only or args.partition or args.extra):
        args.error('--partition, --submit-only and arguments after -- are for --executor slurm')
    if args.executor in ('local', 'slurm') and args.address:
        args.error('--address is for --executor ray')
