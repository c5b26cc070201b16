"""Evaluates the candidates of a DynaKD search as independent runs, on this machine, on Ray or under
Slurm.

    python tools/evaluate_candidates.py RESULTS_DIR [--engine local|ray|slurm] [--seeds S …] [--
    SBATCH_ARGUMENT …]

RESULTS_DIR is the work dir of the search, also of one with evaluate=False in its hook. Each
candidate and baseline is trained with each seed in a run of its own,
RESULTS_DIR/runs/<lane>-seed<k>; what comes out is what the evaluation side by side gives. The same
command goes on where an earlier one stopped; what is finished is not run again.
"""

import argparse
import os.path as osp
import shlex
import signal
import sys

from mmdynakd.diagnostics.tool import LATER, run_tool
from mmdynakd.errors import UserError
from mmdynakd.evaluation import Executor, Plan, RunsFailedError, check_lanes, evaluate, read_plan


def parse(argv: list[str]) -> argparse.Namespace:
    own, extra = (
        (argv[: argv.index('--')], argv[argv.index('--') + 1 :]) if '--' in argv else (argv, [])
    )
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('results_dir', help='work dir of the search')
    parser.add_argument('--engine', choices=ENGINES, default='local')
    parser.add_argument(
        '--seeds',
        type=int,
        nargs='+',
        help="one student of each lane a seed (default: the search's)",
    )
    parser.add_argument(
        '--jobs',
        type=int,
        help='runs at a time; local and slurm (default: as many as there are GPUs '
        'for, one without; as Slurm sees fit)',
    )
    parser.add_argument(
        '--cpus-per-run',
        type=int,
        help='threads of a run (default: local, the cores shared by the jobs; else 1)',
    )
    parser.add_argument(
        '--gpus-per-run',
        type=int,
        help='0 or as many as the search had processes (default: local, '
        'as many if there are GPUs; else 0)',
    )
    parser.add_argument(
        '--address', help='ray: of the cluster (default: RAY_ADDRESS, or this machine alone)'
    )
    parser.add_argument(
        '--retries', type=int, default=3, help='ray: of a run whose worker or node was lost'
    )
    parser.add_argument('--partition', help='slurm: where to')
    parser.add_argument(
        '--submit-only', action='store_true', help='slurm: do not wait for the runs'
    )
    parser.add_argument('--debug', action='store_true', help='show the traceback of every error')
    args = parser.parse_args(own)
    args.extra = extra
    positive = [
        key
        for key in ('jobs', 'cpus_per_run')
        if getattr(args, key) is not None and getattr(args, key) < 1
    ]
    negative = [key for key in ('gpus_per_run', 'retries') if (getattr(args, key) or 0) < 0]
    if positive or negative:
        parser.error(
            f'--{(positive + negative)[0].replace("_", "-")} must be '
            f'{">= 1" if positive else ">= 0"}'
        )
    if args.engine != 'slurm' and (args.submit_only or args.partition or extra):
        parser.error('--partition, --submit-only and arguments after -- are for --engine slurm')
    if args.engine != 'ray' and args.address:
        parser.error('--address is for --engine ray')
    return args


def local(args: argparse.Namespace, plan: Plan) -> Executor:
    from mmdynakd.evaluation.executors.local import LocalExecutor, visible_gpus

    gpus = (
        args.gpus_per_run
        if args.gpus_per_run is not None
        else plan.processes
        if visible_gpus()
        else 0
    )
    return LocalExecutor(args.jobs, args.cpus_per_run, gpus)


def ray(args: argparse.Namespace, plan: Plan) -> Executor:
    from mmdynakd.evaluation.executors.ray_cluster import RayExecutor

    return RayExecutor(args.address, args.cpus_per_run or 1, args.gpus_per_run or 0, args.retries)


def slurm(args: argparse.Namespace, plan: Plan) -> Executor:
    from mmdynakd.evaluation.executors.slurm import SlurmExecutor

    return SlurmExecutor(
        osp.join(plan.results_dir, 'runs', '.slurm'),
        args.jobs,
        args.cpus_per_run or 1,
        args.gpus_per_run or 0,
        args.partition,
        args.extra,
    )


ENGINES = dict(local=local, ray=ray, slurm=slurm)


def main() -> None:
    args = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the engine is stopped
    plan = read_plan(args.results_dir, args.seeds)
    if args.gpus_per_run not in (None, 0, plan.processes):
        raise UserError(
            f'--gpus-per-run {args.gpus_per_run}: the search shared its batch among '
            f'{plan.processes} '
            'processes, and a run has as many; give 0 or that many GPUs'
        )
    check_lanes(plan)
    again = f'the same command goes on where this one stopped:\n  python {shlex.join(sys.argv)}'
    try:
        evaluate(plan, ENGINES[args.engine](args, plan), submit_only=args.submit_only)
    except RunsFailedError as error:
        print(f'error: {error}\n{again}', file=sys.stderr)
        sys.exit(LATER)
    except KeyboardInterrupt:
        print(f'\ninterrupted; {again}', file=sys.stderr)
        sys.exit(130)


if __name__ == '__main__':
    run_tool(main)
