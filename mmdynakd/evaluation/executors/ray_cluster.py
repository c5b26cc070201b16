"""Jobs as tasks of a Ray cluster; one that was lost with its worker or node is tried again."""

import os
from collections.abc import Sequence

from .base import ExecutorError, Job, ended

THREADS = 'OMP_NUM_THREADS'


class RayExecutor:
    """Runs jobs on Ray (``mmdynakd[ray]``); all nodes have this environment and the results' file
    system.

    Args:
        address: of the cluster; by default ``RAY_ADDRESS``, or else this machine alone, for the
            time being.
        cpus_per_run, gpus_per_run: that Ray reserves for a run; its threads are as many as its
            CPUs.
        retries: of a run that was lost with its worker or node; one that fails by itself is not
            tried again.

    Raises:
        ExecutorError: if Ray is not installed.
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
        self._tasks: dict = {}  # reference of the task: job, and how often it was tried before
        self.notes: dict[str, str] = {}

    def start(self, jobs: Sequence[Job]) -> None:
        self._connect()
        self._run = self.ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)(_task())
        for job in jobs:
            self._submit(job, 0)

    def poll(self) -> dict[str, str | None]:
        done, _ = (
            self.ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=0)
            if self._tasks
            else ([], 0)
        )
        found = {}
        for reference in done:
            job, tried = self._tasks.pop(reference)
            try:
                found[job.name] = ended(self.ray.get(reference))
            except self.ray.exceptions.RayTaskError as error:
                found[job.name] = f'{type(error.cause).__name__}: {error.cause}'
            except self.ray.exceptions.RayError as error:  # the worker or its node is no more
                kind = type(error).__name__
                if tried < self.retries:
                    self.notes[job.name] = f'{kind}: try {tried + 2} of {self.retries + 1}'
                    self._submit(job, tried + 1)
                else:
                    found[job.name] = f'{kind} in {tried + 1} tries'
        return found

    def stop(self) -> None:
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
                'give '
                'its --address'
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


def _task():
    """The task, a local function: Ray sends it whole, so that a node need not import this package
    to start a run.
    """

    def run(argv, cwd, log, env):
        import os
        import subprocess

        for folder in (cwd, os.path.dirname(log)):
            if not os.path.isdir(folder):
                raise FileNotFoundError(
                    f'{folder} is not on {os.uname().nodename}: all nodes must share it'
                )
        with open(
            log, 'ab'
        ) as file:  # its standard input ends when this worker is killed, and the run with it
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


def _shown(node: dict) -> str:
    return f'{node.get("CPU", 0):g} CPUs, {node.get("GPU", 0):g} GPUs'
