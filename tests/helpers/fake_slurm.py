"""Stands for sbatch, squeue, srun and scontrol on a machine without Slurm, by its file name.

It really runs what it is given, one task of an array after the other. Its state is in the folder
FAKE_SLURM: a file ``<array>_<place>`` holds the state of a task in the queue; ``argv`` every
command line; ``down`` makes squeue fail.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

STATE = Path(os.environ.get('FAKE_SLURM', '.'))
OPTION = re.compile(r'--([a-z-]+)(?:=(.*))?$', re.DOTALL)


def split(argv: list[str]) -> tuple[dict[str, str], list[str]]:
    """Options, all with ``=`` or without value, and the rest."""
    options = {}
    for place, word in enumerate(argv):
        found = OPTION.match(word)
        if not found:
            return options, argv[place:]
        options[found.group(1)] = found.group(2)
    return options, []


def sbatch(argv: list[str]) -> None:
    options, command = split(argv)
    if 'partition' in options and options['partition'] == 'none':
        sys.exit('sbatch: error: invalid partition specified: none')
    array = str(100 + len(list(STATE.glob('*.json'))))
    first, last = map(int, options['array'].split('%')[0].split('-'))
    (STATE / f'{array}.json').write_text(json.dumps(dict(options=options, command=command)))
    for place in range(first, last + 1):
        (STATE / f'{array}_{place}').write_text('PENDING')
    subprocess.Popen(
        [sys.executable, __file__, 'daemon', array],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    print(f'{array};cluster')


def daemon(array: str) -> None:
    job = json.loads((STATE / f'{array}.json').read_text())
    options, (script, *arguments) = job['options'], job['command']
    copy = STATE / f'{array}.script'  # Slurm runs a copy of the script, from elsewhere
    copy.write_text(Path(script).read_text())
    interpreter = copy.read_text().splitlines()[0].removeprefix('#!').split()
    for task in sorted(STATE.glob(f'{array}_*'), key=lambda path: int(path.name.split('_')[1])):
        place = task.name.split('_')[1]
        task.write_text('RUNNING')
        env = dict(
            os.environ, SLURM_ARRAY_TASK_ID=place, SLURM_CPUS_PER_TASK=options['cpus-per-task']
        )
        log = (
            options['output']
            .replace('%%', '\0')
            .replace('%A', array)
            .replace('%a', place)
            .replace('\0', '%')
        )
        with open(log, 'a') as file:
            subprocess.run(
                [*interpreter, str(copy), *arguments],
                env=env,
                cwd=options['chdir'],
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        task.unlink()


def squeue(argv: list[str]) -> None:
    options, _ = split(argv)
    if (STATE / 'down').exists():
        sys.exit('slurm_load_jobs error: Unable to contact slurm controller (connect failure)')
    tasks = list(STATE.glob(f'{options["jobs"]}_*'))
    if not tasks:
        sys.exit('slurm_load_jobs error: Invalid job id specified')
    for task in tasks:
        print(
            options['format'].replace('%K', task.name.split('_')[1]).replace('%T', task.read_text())
        )


def srun(argv: list[str]) -> None:
    options, command = split(argv)
    number = int(options['ntasks'])
    processes = [
        subprocess.Popen(
            command,
            env=dict(
                os.environ,
                SLURM_PROCID=str(k),
                SLURM_LOCALID=str(k),
                SLURM_NTASKS=str(number),
                SLURM_NODELIST='node[1-2]',
            ),
        )
        for k in range(number)
    ]
    sys.exit(max(process.wait() for process in processes))


def scontrol(argv: list[str]) -> None:
    assert argv == ['show', 'hostnames', 'node[1-2]']
    print('127.0.0.1\nnode2')


def install(folder: Path) -> None:
    """Puts the commands into ``folder``, for PATH."""
    folder.mkdir()
    for name in ('sbatch', 'squeue', 'srun', 'scontrol'):
        (folder / name).write_text(f'#!{sys.executable}\n{Path(__file__).read_text()}')
        (folder / name).chmod(0o755)


if __name__ == '__main__':
    name, rest = (Path(sys.argv[0]).name, sys.argv[1:])
    if rest[:1] == ['daemon']:
        daemon(rest[1])
    else:
        with open(STATE / 'argv', 'a') as file:
            file.write(json.dumps([name, *rest]) + '\n')
        dict(sbatch=sbatch, squeue=squeue, srun=srun, scontrol=scontrol)[name](rest)
