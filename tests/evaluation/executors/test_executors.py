"""Executors with commands that train nothing: each job runs once; its end is told."""

import json
import os
import signal
import subprocess
import sys
import time

import fake_slurm
import pytest
import torch
from jobs import ends, job, noting, until
from runs import CHECKOUT

from mmdynakd.evaluation import ExecutorError
from mmdynakd.evaluation.executors import local as local_executor
from mmdynakd.evaluation.executors.local import LocalExecutor
from mmdynakd.evaluation.executors.slurm import SlurmExecutor

TIE = CHECKOUT / 'mmdynakd' / 'evaluation' / 'executors' / 'tie.py'
WAIT = (
    'import os, runpy, sys, time; tie = runpy.run_path(sys.argv[1]); tie["end_with_parent"](); '
    'open(sys.argv[2], "w").write(str(os.getpid())); time.sleep(300)'
)


def test_local_runs_all_and_says_how_each_ended(tmp_path):
    executor = LocalExecutor(jobs=2)
    executor.start(
        [
            noting(tmp_path, 'good'),
            job(tmp_path, 'bad', 'import sys; sys.exit(3)'),
            job(tmp_path, 'killed', 'import os; os.kill(os.getpid(), 9)'),
            noting(tmp_path, 'later'),
        ]
    )
    assert ends(executor, 4) == dict(
        good=None, later=None, bad='exit status 3', killed='killed by signal 9'
    )
    assert (tmp_path / 'good.txt').read_text() == '\n'
    assert (tmp_path / 'good.log').read_text() == 'said\n'
    assert executor.poll() == {}


def test_local_runs_no_more_at_a_time_than_it_may(tmp_path):
    code = (
        'import os, sys, time; me = sys.argv[1] + str(os.getpid()); open(me, "w").close(); '
        'time.sleep(0.2); '
        'n = len([x for x in os.listdir(os.path.dirname(me)) if x.startswith("on_")]); '
        'os.remove(me); sys.exit(n)'
    )
    executor = LocalExecutor(jobs=2)
    executor.start([job(tmp_path, f'{k}', code, f'{tmp_path}/on_') for k in range(5)])
    assert set(ends(executor, 5).values()) <= {'exit status 1', 'exit status 2'}


def test_local_gives_each_job_gpus_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(local_executor, 'visible_gpus', lambda: ['4', '5', '6', '7', '8'])
    executor = LocalExecutor(gpus_per_run=2)
    assert executor.jobs == 2
    executor.start([noting(tmp_path, name) for name in 'abc'])
    assert ends(executor, 3) == dict(a=None, b=None, c=None)
    seen = [(tmp_path / f'{name}.txt').read_text().strip() for name in 'abc']
    assert seen[:2] == ['4,5', '6,7']
    assert seen[2] in seen[:2]
    with pytest.raises(
        ExecutorError, match='--jobs 3 of --gpus-per-run 2 need 6 GPUs, 5 are visible'
    ):
        LocalExecutor(jobs=3, gpus_per_run=2)


def test_visible_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    assert local_executor.visible_gpus() == ['0', '1']
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '3, MIG-a')
    assert local_executor.visible_gpus() == ['3', 'MIG-a']
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    assert local_executor.visible_gpus() == []


@pytest.mark.parametrize(('given', 'seen'), [(None, '3'), ('5', '5')])
def test_threads_of_a_run(tmp_path, monkeypatch, given, seen):
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    if given:
        monkeypatch.setenv('OMP_NUM_THREADS', given)
    executor = LocalExecutor(cpus_per_run=3)
    executor.start([noting(tmp_path, 'a', 'OMP_NUM_THREADS')])
    ends(executor, 1)
    assert (tmp_path / 'a.txt').read_text() == f'{seen}\n'


def alive(pid: int) -> bool:
    try:
        return open(f'/proc/{pid}/stat').read().split()[2] != 'Z'
    except FileNotFoundError:
        return False


@pytest.mark.parametrize('end', ['stop', 'kill'])
def test_runs_end_with_a_local_driver(tmp_path, end):
    """Also with one that is killed, which can end nothing any more."""
    tied = job(tmp_path, 'tied', WAIT, TIE, tmp_path / 'pid')
    if end == 'stop':
        executor = LocalExecutor()
        executor.start([tied])
        until(lambda: (tmp_path / 'pid').exists() and (tmp_path / 'pid').read_text())
        executor.stop()
    else:
        driver = os.fork()
        if not driver:
            LocalExecutor().start([tied])
            time.sleep(300)
        until(lambda: (tmp_path / 'pid').exists() and (tmp_path / 'pid').read_text())
        os.kill(driver, signal.SIGKILL)
        os.waitpid(driver, 0)
    until(lambda: not alive(int((tmp_path / 'pid').read_text())))


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """The state of a fake Slurm on PATH."""
    state = tmp_path / 'slurm state'
    state.mkdir()
    fake_slurm.install(tmp_path / 'bin')
    monkeypatch.setenv('PATH', f'{tmp_path / "bin"}:{os.environ["PATH"]}')
    monkeypatch.setenv('FAKE_SLURM', str(state))
    monkeypatch.setattr(SlurmExecutor, 'interval', 0.05)
    return state


def called(state, name) -> list[list[str]]:
    lines = map(json.loads, (state / 'argv').read_text().splitlines())
    return [line[1:] for line in lines if line[0] == name]


def test_slurm_runs_an_array_of_what_it_is_given_word_by_word(tmp_path, slurm):
    folder = tmp_path / '100% of; $(touch x)'
    executor = SlurmExecutor(
        str(folder),
        jobs=2,
        cpus_per_run=3,
        gpus_per_run=1,
        partition='a b',
        extra=['--time=1:00', '--comment=x y'],
    )
    executor.start(
        [
            noting(tmp_path, 'a; touch y', 'OMP_NUM_THREADS'),
            noting(tmp_path, 'b', 'SLURM_ARRAY_TASK_ID'),
        ]
    )
    assert ends(executor, 2) == {'a; touch y': None, 'b': None}
    (argv,) = called(slurm, 'sbatch')
    assert {
        '--array=0-1%2',
        '--cpus-per-task=3',
        '--gres=gpu:1',
        '--partition=a b',
        '--time=1:00',
        '--comment=x y',
        '--requeue',
        '--ntasks=1',
    } <= set(argv)
    assert (tmp_path / 'b.txt').read_text() == '1\n'
    assert (tmp_path / 'b.log').read_text() == 'said\n'
    assert (tmp_path / 'a; touch y.txt').read_text() in (
        '3\n',
        f'{os.environ.get("OMP_NUM_THREADS")}\n',
    )
    assert sorted(path.name for path in folder.glob('*.log')) == ['100_0.log', '100_1.log']
    assert not (tmp_path / 'x').exists()
    assert not (tmp_path / 'y').exists()
    assert executor.stop() is None


def test_slurm_jobs_outlive_the_driver_and_are_not_submitted_again(tmp_path, slurm):
    gate = 'import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.02)'
    jobs = [job(tmp_path, name, gate, tmp_path / 'open') for name in 'ab']
    first = SlurmExecutor(str(tmp_path / 'jobs'))
    first.start(jobs)
    assert (
        first.stop()
        == '2 runs stay with Slurm: the same command watches them, `scancel 100` ends them'
    )
    again = SlurmExecutor(str(tmp_path / 'jobs'))
    again.start([*jobs, noting(tmp_path, 'c')])
    assert len(called(slurm, 'sbatch')) == 2
    assert '--array=0-0' in called(slurm, 'sbatch')[1]
    assert ends(again, 1) == dict(c=None)
    (slurm / 'down').touch()  # no answer is no end
    assert again.poll() == {}
    (slurm / 'down').unlink()
    (tmp_path / 'open').touch()
    assert ends(again, 2) == dict(a=None, b=None)
    assert '100_1.log' in again.notes['b']


def test_what_slurm_refuses_is_one_error(tmp_path, slurm, monkeypatch):
    with pytest.raises(
        ExecutorError, match=r'sbatch refuses the runs: .*invalid partition specified: none'
    ):
        SlurmExecutor(str(tmp_path / 'jobs'), partition='none').start([noting(tmp_path, 'a')])
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(ExecutorError, match='needs sbatch, which is not on PATH'):
        SlurmExecutor(str(tmp_path / 'jobs')).start([noting(tmp_path, 'a')])


def test_ray_absent_is_one_error_that_says_what_to_install(monkeypatch):
    from mmdynakd.evaluation.executors.ray_cluster import RayExecutor

    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(ExecutorError, match=r"pip install 'mmdynakd\[ray\]'"):
        RayExecutor()


def test_slurm_task_needs_no_package():
    code = (CHECKOUT / 'mmdynakd' / 'evaluation' / 'executors' / 'slurm_task.py').read_text()
    subprocess.run([sys.executable, '-I', '-c', f'import ast; ast.parse({code!r})'], check=True)
    assert 'mmdynakd' not in code
