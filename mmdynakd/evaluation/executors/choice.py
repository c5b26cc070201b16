"""From what a user asks for to an executor."""

import os.path as osp
from collections.abc import Sequence
from dataclasses import dataclass

from mmdynakd.errors import UserError
from mmdynakd.evaluation.plan import Plan

from .base import Executor


@dataclass(frozen=True)
class Request:
    """What a user asks of an executor; None leaves it to the executor.

    Attributes:
        executor: ``'local'``, ``'ray'`` or ``'slurm'``.
        jobs: runs at a time, >= 1; not for Ray, which sees what fits.
        cpus_per_run: threads of a run, >= 1.
        gpus_per_run: 0, or as many as the search had processes.
        address: of the Ray cluster.
        retries: how often Ray starts a run again whose worker or node was lost.
        partition: of Slurm.
        extra: words for sbatch.

    Examples:
        >>> Request(executor='slurm', partition='gpu').retries
        3
    """

    executor: str = 'local'
    jobs: int | None = None
    cpus_per_run: int | None = None
    gpus_per_run: int | None = None
    address: str | None = None
    retries: int = 3
    partition: str | None = None
    extra: Sequence[str] = ()


def make_executor(request: Request, plan: Plan) -> Executor:
    """The executor for a plan's runs. Only its own module is imported: Ray may be absent.

    Raises:
        UserError: a run cannot have so many GPUs.
        ExecutorError: the executor cannot work here, or not with these numbers.

    Examples:
        >>> from types import SimpleNamespace
        >>> plan = SimpleNamespace(processes=1, results_dir='work_dirs/x')
        >>> make_executor(Request(jobs=2, gpus_per_run=0), plan).jobs
        2
    """
    if request.gpus_per_run not in (None, 0, plan.processes):
        raise UserError(
            f'--gpus-per-run {request.gpus_per_run}: the search shared its batch among '
            f'{plan.processes} processes, and a run has as many; give 0 or that many GPUs'
        )
    return MAKERS[request.executor](request, plan)


def _local(request: Request, plan: Plan) -> Executor:
    from .local import LocalExecutor, visible_gpus

    gpus = request.gpus_per_run
    if gpus is None:
        gpus = plan.processes if visible_gpus() else 0
    return LocalExecutor(request.jobs, request.cpus_per_run, gpus)


def _ray(request: Request, plan: Plan) -> Executor:
    from .ray_cluster import RayExecutor

    return RayExecutor(
        request.address, request.cpus_per_run or 1, request.gpus_per_run or 0, request.retries
    )


def _slurm(request: Request, plan: Plan) -> Executor:
    from .slurm import SlurmExecutor

    return SlurmExecutor(
        osp.join(plan.results_dir, 'runs', '.slurm'),
        request.jobs,
        request.cpus_per_run or 1,
        request.gpus_per_run or 0,
        request.partition,
        request.extra,
    )


MAKERS = dict(local=_local, ray=_ray, slurm=_slurm)
