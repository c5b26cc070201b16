"""A task of a Slurm array becomes its job's command; a script that needs no package."""

import json
import os
import sys


def main() -> None:
    """Read the job of this task, and become its command.

    Examples:
        ``python slurm_task.py tasks_0.json``, in a task of an array
    """
    with open(sys.argv[1], encoding='utf-8') as file:
        job = json.load(file)['tasks'][int(os.environ['SLURM_ARRAY_TASK_ID'])]
    environment = {**os.environ, **job['env']}
    environment.setdefault('OMP_NUM_THREADS', os.environ.get('SLURM_CPUS_PER_TASK', '1'))
    log = os.open(job['log'], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.chdir(job['cwd'])
    os.execve(job['argv'][0], job['argv'], environment)


if __name__ == '__main__':
    main()
