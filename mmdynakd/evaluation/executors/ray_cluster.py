"""Jobs as tasks of a Ray cluster; one lost with its worker or node is tried again."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmdynakd.registry import EXECUTORS

from .base import ExecutorError, Job, ended
from .request import Request

THREADS = 'OMP_NUM_THREADS'


@EXECUTORS.register_module(name='ray')
class RayExecutor:
    """Runs jobs on Ray (``pip install 'mmdynakd[ray]'``).

    All nodes need this environment and the file system of the results.

    Args:
        address: of the cluster; by default ``RAY_ADDRESS``, or else a cluster of this machine that
            lasts as long as this process.
        cpus_per_run: CPUs that Ray reserves for a run, which has as many threads.
        gpus_per_run: GPUs that Ray reserves for a run.
        retries: of a run that was lost with its worker or node. One that fails by itself is not
            tried again.

    Raises:
        ExecutorError: Ray is not installed.

    Examples:
        ``mmdynakd evaluate RUN --executor ray --cpus-per-run 4``
    """

    tied, grace, interval = True, 30.0, 1.0

    def __init__(
        self,
        address: str | None = None,
        cpus_per_run: int = 1,
        gpus_per_run: int = 0,
        retries: int = 3,
    ) -> None:
        os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
        try:
            import ray
        except ImportError as error:
            raise ExecutorError(
                "--executor ray needs Ray, which is not installed: pip install 'mmdynakd[ray]'"
            ) from error
        self.ray, self.address = ray, address or os.environ.get('RAY_ADDRESS') or 'local'
        self.cpus, self.gpus, self.retries = cpus_per_run, gpus_per_run, retries
        # reference of the task: its job, and how often it was tried before
        self._tasks: dict[Any, tuple[Job, int]] = {}
        self.notes: dict[str, str] = {}

    @classmethod
    def from_request(cls, request: Request) -> 'RayExecutor':
        """Make the one that is asked for; by default a run has one CPU and no GPU."""
        return cls(
            request.address, request.cpus_per_run or 1, request.gpus_per_run or 0, request.retries
        )

    def start(self, jobs: Sequence[Job]) -> None:
        """Connect to the cluster, and submit the jobs."""
        self._connect()
        self._run = self.ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)(_task())
        for job in jobs:
            self._submit(job, 0)

    def poll(self) -> dict[str, str | None]:
        """List those that have ended; what was lost is submitted again."""
        if not self._tasks:
            return {}
        done, _ = self.ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=0)
        found: dict[str, str | None] = {}
        for reference in done:
            job, tried = self._tasks.pop(reference)
            try:
                found[job.name] = ended(self.ray.get(reference))
            except self.ray.exceptions.RayTaskError as error:
                found[job.name] = f'{type(error.cause).__name__}: {error.cause}'
            except self.ray.exceptions.RayError as error:  # its worker or node is gone
                kind = type(error).__name__
                if tried < self.retries:
                    self.notes[job.name] = f'{kind}: try {tried + 2} of {self.retries + 1}'
                    self._submit(job, tried + 1)
                else:
                    found[job.name] = f'{kind} in {tried + 1} tries'
        return found

    def stop(self) -> None:
        """Cancel what is left, and disconnect."""
        for reference in self._tasks:
            self.ray.cancel(reference, force=True)
        self._tasks.clear()
        if self.ray.is_initialized():
            self.ray.shutdown()

    def _connect(self) -> None:
        own = dict(include_dashboard=False) if self.address == 'local' else {}
        try:
            self.ray.init(self.address, log_to_driver=False, ignore_reinit_error=True, **own)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ExecutorError(
                f'no Ray cluster at {self.address} ({error}): start one by `ray start --head`, and '
                'give its --address'
            ) from error
        nodes = [node['Resources'] for node in self.ray.nodes() if node['Alive']]
        if not any(
            node.get('CPU', 0) >= self.cpus and node.get('GPU', 0) >= self.gpus for node in nodes
        ):
            raise ExecutorError(
                f'no node of the Ray cluster has {self.cpus} CPUs and {self.gpus} GPUs: lower '
                f'--cpus-per-run or --gpus-per-run; nodes: {[_shown(node) for node in nodes]}'
            )

    def _submit(self, job: Job, tried: int) -> None:
        threads = os.environ.get(THREADS, str(self.cpus))
        env = {
            **{key: os.environ[key] for key in ('PYTHONPATH',) if key in os.environ},
            THREADS: threads,
            **job.env,
        }
        reference = self._run.options(name=job.name).remote(job.argv, job.cwd, job.log, env)
        self._tasks[reference] = job, tried


def _task() -> Callable[[list[str], str, str, Mapping[str, str]], int]:
    """Make the task: a local function, which Ray sends whole, so nodes need not import us."""

    def run(argv: list[str], cwd: str, log: str, env: Mapping[str, str]) -> int:
        import os
        import subprocess

        for folder in (cwd, os.path.dirname(log)):
            if not os.path.isdir(folder):
                raise FileNotFoundError(
                    f'{folder} is not on {os.uname().nodename}: all nodes must share it'
                )
        with open(log, 'ab') as file:
            # If this worker is killed, the pipe ends, and the run with it.
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env={**os.environ, **env},
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return process.wait()

    return run


def _shown(node: Mapping[str, float]) -> str:
    return f'{node.get("CPU", 0):g} CPUs, {node.get("GPU", 0):g} GPUs'
