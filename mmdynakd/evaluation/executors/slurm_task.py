"""What a task of a Slurm array does: it becomes its job's command. Run as a script; needs no
package.
"""

import json
import os
import sys


def main() -> None:
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
