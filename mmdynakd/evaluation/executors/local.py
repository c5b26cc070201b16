"""Jobs as processes of this machine, several at a time, each with its own GPUs."""

import contextlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Sequence

import torch

from mmdynakd.registry import EXECUTORS

from .base import ExecutorError, Job, ended
from .request import Request


@EXECUTORS.register_module(name='local')
class LocalExecutor:
    """Runs jobs in parallel on this machine.

    Args:
        jobs: how many at a time; by default as many as the GPUs allow, one without GPUs.
        cpus_per_run: threads of a run; by default the cores, divided among the jobs.
        gpus_per_run: GPUs of a run, which sees no others (``CUDA_VISIBLE_DEVICES``).

    Raises:
        ExecutorError: there are not enough GPUs.

    Examples:
        >>> LocalExecutor(jobs=2, cpus_per_run=1).jobs
        2
    """

    tied, grace, interval = True, 0.0, 1.0

    def __init__(
        self, jobs: int | None = None, cpus_per_run: int | None = None, gpus_per_run: int = 0
    ) -> None:
        gpus = visible_gpus()
        fit = len(gpus) // gpus_per_run if gpus_per_run else jobs or 1
        self.jobs = jobs or fit
        if self.jobs > fit or not fit:
            raise ExecutorError(
                f'--jobs {jobs or 1} of --gpus-per-run {gpus_per_run} need '
                f'{(jobs or 1) * gpus_per_run} GPUs, {len(gpus)} are visible'
            )
        self.cpus = cpus_per_run or max(1, (os.cpu_count() or 1) // self.jobs)
        self._free = [gpus[k * gpus_per_run : (k + 1) * gpus_per_run] for k in range(self.jobs)]
        self._waiting: deque[Job] = deque()
        self._running: dict[str, tuple[subprocess.Popen[bytes], list[str]]] = {}
        self.notes: dict[str, str] = {}

    @classmethod
    def from_request(cls, request: Request) -> 'LocalExecutor':
        """Make the one that is asked for; by default a run has a GPU a process if there are any."""
        gpus = request.gpus_per_run
        if gpus is None:
            gpus = request.processes if visible_gpus() else 0
        return cls(request.jobs, request.cpus_per_run, gpus)

    def start(self, jobs: Sequence[Job]) -> None:
        """Start as many as fit; the others wait."""
        self._waiting.extend(jobs)
        self._fill()

    def poll(self) -> dict[str, str | None]:
        """List those that have ended, and start others in their place."""
        codes = {name: process.poll() for name, (process, _) in self._running.items()}
        found = {name: ended(code) for name, code in codes.items() if code is not None}
        for name in found:
            process, gpus = self._running.pop(name)
            _release(process)
            self._free.append(gpus)
        self._fill()
        return found

    def stop(self) -> None:
        """Kill what is running."""
        self._waiting.clear()
        for process, _ in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            _release(process)
            process.wait()
        self._running.clear()

    def _fill(self) -> None:
        while self._waiting and self._free:
            job, gpus = self._waiting.popleft(), self._free.pop(0)
            env = {**os.environ, **job.env, 'CUDA_VISIBLE_DEVICES': ','.join(gpus)}
            env.setdefault('OMP_NUM_THREADS', str(self.cpus))
            with open(job.log, 'ab') as log:
                process = subprocess.Popen(
                    job.argv,
                    cwd=job.cwd,
                    env=env,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._running[job.name] = process, gpus
            self.notes[job.name] = f'GPU {",".join(gpus)}' if gpus else ''


def _release(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe by which a job is tied to this process."""
    if process.stdin is not None:
        process.stdin.close()


def visible_gpus() -> list[str]:
    """List the GPUs of this process, as ``CUDA_VISIBLE_DEVICES`` names them.

    Examples:
        On a machine with two GPUs it gives ``['0', '1']``.
    """
    named = os.environ.get('CUDA_VISIBLE_DEVICES')
    if named is not None:
        return [
            gpu.strip() for gpu in named.split(',') if gpu.strip() and torch.cuda.device_count()
        ]
    return [str(k) for k in range(torch.cuda.device_count())]
