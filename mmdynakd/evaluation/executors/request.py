"""From what a user asks for to an executor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from mmdynakd.errors import UserError
from mmdynakd.names import suggestion
from mmdynakd.registry import EXECUTORS

from .base import Executor


@dataclass(frozen=True)
class Request:
    """What is asked of an executor. None leaves a setting to the executor.

    Attributes:
        results_dir: absolute path of the folder that gets the results; the runs' folders are below
            its ``runs``.
        executor: the name under which it is registered: ``'local'``, ``'ray'``, ``'slurm'``, …
        processes: of each run, >= 1: as many as the search had.
        jobs: runs at a time, >= 1. Ray ignores it and starts as many as fit.
        cpus_per_run: threads of a run, >= 1.
        gpus_per_run: 0, or one for each process.
        address: of the Ray cluster.
        retries: how often Ray restarts a run that lost its worker or node, >= 0.
        partition: of Slurm.
        extra: further words for sbatch.

    Examples:
        >>> Request('/runs/search', executor='slurm', partition='gpu').jobs is None
        True
    """

    results_dir: str
    executor: str = 'local'
    processes: int = 1
    jobs: int | None = None
    cpus_per_run: int | None = None
    gpus_per_run: int | None = None
    address: str | None = None
    retries: int = 3
    partition: str | None = None
    extra: Sequence[str] = ()


def make_executor(request: Request) -> Executor:
    """Make the executor that a request names, by the ``from_request`` of its registered class.

    Raises:
        UserError: there is no executor of that name, or a run cannot have that number of GPUs.
        ExecutorError: the executor cannot work here, or not with these numbers.

    Examples:
        >>> make_executor(Request('/runs/search', jobs=2, gpus_per_run=0)).jobs
        2
        >>> make_executor(Request('/runs/search', executor='slrum'))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mmdynakd.errors.UserError: there is no executor 'slrum' (did you mean 'slurm'?); ...
    """
    known = EXECUTORS.module_dict
    if request.executor not in known:
        raise UserError(
            f'there is no executor {request.executor!r}{suggestion(request.executor, known)}; '
            f'known: {", ".join(sorted(known))}. To add one, name its module in the search '
            "config's custom_imports"
        )
    if request.gpus_per_run not in (None, 0, request.processes):
        raise UserError(
            f'--gpus-per-run {request.gpus_per_run}: the search shared its batch among '
            f'{request.processes} processes, and a run has as many; give 0 or that many GPUs'
        )
    return cast(Executor, known[request.executor].from_request(request))
