"""Jobs as one Slurm array, watched through the queue."""

import os
import os.path as osp
import subprocess
import sys
from collections.abc import Sequence

from mmdynakd.files import read_json, write_json, write_text
from mmdynakd.registry import EXECUTORS

from .base import ExecutorError, Job
from .request import Request

TASK = osp.join(osp.dirname(osp.abspath(__file__)), 'slurm_task.py')
SCRIPT = '#!/bin/sh\nexec "$@"\n'  # sbatch takes only scripts
GONE = 'invalid job id'


@EXECUTORS.register_module(name='slurm')
class SlurmExecutor:
    """Submits jobs by ``sbatch``.

    They outlive this process; the same command, given again, finds them in the queue.

    Args:
        folder: for the array's list of commands, its number and Slurm's own logs.
        jobs: how many at a time; by default as Slurm sees fit.
        cpus_per_run: CPUs of a run.
        gpus_per_run: GPUs of a run.
        partition: where to submit them.
        extra: further arguments of ``sbatch``, one word each.

    Examples:
        ``mmdynakd evaluate RUN --executor slurm --partition gpu -- --time=4:00:00``
    """

    tied, grace, interval = False, 60.0, 15.0

    def __init__(
        self,
        folder: str,
        jobs: int | None = None,
        cpus_per_run: int = 1,
        gpus_per_run: int = 0,
        partition: str | None = None,
        extra: Sequence[str] = (),
    ) -> None:
        self.folder, self.jobs, self.cpus, self.gpus = folder, jobs, cpus_per_run, gpus_per_run
        self.partition, self.extra = partition, list(extra)
        self._open: dict[str, tuple[str, int]] = {}  # job: array and place in it
        self.notes: dict[str, str] = {}

    @classmethod
    def from_request(cls, request: Request) -> 'SlurmExecutor':
        """Make the one that is asked for; by default a run has one CPU and no GPU."""
        return cls(
            osp.join(request.results_dir, 'runs', '.slurm'),
            request.jobs,
            request.cpus_per_run or 1,
            request.gpus_per_run or 0,
            request.partition,
            request.extra,
        )

    def start(self, jobs: Sequence[Job]) -> None:
        """Submit the jobs that are not in the queue yet, as one array."""
        os.makedirs(self.folder, exist_ok=True)
        wanted = {job.name for job in jobs}
        for array, names in self._submitted():
            places = set(self._queue(array) or ())
            self._open.update(
                {name: (array, k) for k, name in enumerate(names) if k in places and name in wanted}
            )
        jobs = [job for job in jobs if job.name not in self._open]
        if jobs:
            array = self._submit(jobs)
            self._open.update({job.name: (array, k) for k, job in enumerate(jobs)})

    def poll(self) -> dict[str, str | None]:
        """List those that have left the queue; it does not say how they ended."""
        found: dict[str, str | None] = {}
        for array in {array for array, _ in self._open.values()}:
            states = self._queue(array)
            if states is None:  # no answer this time
                continue
            for name, (own, place) in list(self._open.items()):
                if own == array and place in states:
                    self.notes[name] = f'Slurm {array}_{place} {states[place]}'
                elif own == array:
                    self._open.pop(name)
                    self.notes[name] = (
                        f'Slurm {array}_{place}, {osp.join(self.folder, f"{array}_{place}.log")}'
                    )
                    found[name] = None
        return found

    def stop(self) -> str | None:
        """Leave the jobs in the queue, and say how to watch or end them."""
        arrays = sorted({array for array, _ in self._open.values()})
        if not arrays:
            return None
        return (
            f'{len(self._open)} runs stay with Slurm: the same command watches them, `scancel '
            f'{" ".join(arrays)}` ends them'
        )

    def _submit(self, jobs: Sequence[Job]) -> str:
        script = write_text(self.folder, 'task.sh', SCRIPT)
        number = sum(name.startswith('tasks_') for name in os.listdir(self.folder))
        tasks = dict(names=[job.name for job in jobs], tasks=[vars(job) for job in jobs])
        path = write_json(self.folder, f'tasks_{number}.json', tasks)
        limit = f'%{self.jobs}' if self.jobs else ''
        logs = self.folder.replace('%', '%%')  # Slurm's patterns
        command = [
            'sbatch',
            '--parsable',
            '--requeue',
            '--export=ALL',
            '--job-name=mmdynakd',
            '--ntasks=1',
            f'--array=0-{len(jobs) - 1}{limit}',
            f'--cpus-per-task={self.cpus}',
            f'--chdir={jobs[0].cwd}',
            f'--output={osp.join(logs, "%A_%a.log")}',
            '--open-mode=append',
        ]
        command += [f'--partition={self.partition}'] if self.partition else []
        command += [f'--gres=gpu:{self.gpus}'] if self.gpus else []
        done = _call([*command, *self.extra, script, sys.executable, TASK, path])
        if done.returncode:
            raise ExecutorError(f'sbatch refuses the runs: {(done.stderr or done.stdout).strip()}')
        array = str(done.stdout).strip().split(';')[0]
        write_json(self.folder, f'tasks_{number}.json', dict(array=array, **tasks))
        return array

    def _submitted(self) -> list[tuple[str, list[str]]]:
        """List the arrays that were submitted before: number, and names of the jobs."""
        found = []
        for name in sorted(os.listdir(self.folder)):
            if name.startswith('tasks_') and name.endswith('.json'):
                content = read_json(osp.join(self.folder, name))
                if content.get('array'):
                    found.append((content['array'], content['names']))
        return found

    def _queue(self, array: str) -> dict[int, str] | None:
        """Give the state by place of what is left of an array; None if Slurm does not answer."""
        done = _call(['squeue', '--noheader', '--array', f'--jobs={array}', '--format=%K %T'])
        if done.returncode:
            return {} if GONE in done.stderr.lower() else None
        lines = (line.split() for line in done.stdout.splitlines())
        return {int(line[0]): line[1] for line in lines if len(line) == 2 and line[0].isdigit()}


def _call(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300
        )
    except FileNotFoundError as error:
        raise ExecutorError(
            f'--executor slurm needs {command[0]}, which is not on PATH: run this on a machine '
            'from which jobs are submitted'
        ) from error
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, '', f'{command[0]} did not answer in 300 s')
