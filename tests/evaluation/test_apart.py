"""Independent runs give what lanes side by side give, on any executor, interrupted or not."""

import io
import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import fake_slurm
import pytest
from apart_runs import FEW, assert_lanes_equal, copy_search, few, lines, searched
from jobs import until
from mmengine.config import Config
from mmengine.visualization import Visualizer
from runs import TEACHERS, quick, read, run, same, weights

from mmdynakd.evaluation import RunsFailedError, evaluate, read_plan
from mmdynakd.evaluation import worker as worker_module
from mmdynakd.evaluation.executors.local import LocalExecutor
from mmdynakd.evaluation.executors.slurm import SlurmExecutor
from mmdynakd.evaluation.worker import assign, work
from mmdynakd.values import read_results
from mmdynakd.workdir.identity import config_hash
from mmdynakd.workdir.runs import _note
from tools import call

pytestmark = pytest.mark.usefixtures('one_thread')


class Here:
    """An executor that does each run in this process, at once."""

    tied, grace, interval = False, 0.0, 0.0

    def __init__(self) -> None:
        self.done, self.notes = [], {}

    def start(self, jobs) -> None:
        for job in jobs:
            self.done.append(job.name)
            Visualizer._instance_dict.clear()  # a process of its own would have none
            with quick():
                work(job.argv[-1])

    def poll(self) -> dict:
        return dict.fromkeys(self.done)

    def stop(self) -> None:
        pass


@pytest.fixture(scope='module')
def search(apart_search):
    return apart_search


@pytest.fixture(scope='module')
def fanned(search):
    """The work dir of the same search, evaluated by independent runs."""
    work_dir = search.parent / 'fanned'
    copy_search(search, work_dir)
    executor, out = Here(), io.StringIO()
    results = evaluate(read_plan(work_dir), executor, out=out)
    return work_dir, executor, results, out.getvalue()


def test_runs_equal_lanes_side_by_side(search, fanned):
    work_dir, executor, _, _ = fanned
    names = [
        f'{lane}-seed0'
        for lane in ['cat1', 'cat2', 'ce', 'uniform', *(f'only_{t}' for t in TEACHERS)]
    ]
    assert executor.done == names
    assert_lanes_equal(search, work_dir, names)
    assert len(
        {
            float(weights(work_dir / 'runs' / name / 'student.pth')['head.fc.weight'][0, 0])
            for name in names
        }
    ) == len(names)


def test_the_results_are_those_of_the_evaluation_side_by_side(search, fanned):
    work_dir, _, results, _ = fanned
    assert results == read_results(str(work_dir / 'results.json'))
    assert read(work_dir, 'results.json') == read(search, 'results.json')
    assert (work_dir / 'results.md').read_text() == (search / 'results.md').read_text()
    assert same(weights(work_dir / 'student.pth'), weights(search / 'student.pth'))
    configs = [Config.fromfile(folder / 'student.py').to_dict() for folder in (search, work_dir)]
    assert json.dumps(configs[0]) == json.dumps(configs[1])  # a tuple is a list there
    index = read(search, 'student.yml')
    index['Models'][0].update(Name='fanned', Weights=str(work_dir / 'student.pth'))
    assert read(work_dir, 'student.yml') == index


def test_what_is_shown(fanned):
    text = fanned[3]
    assert '7 of 7 finished, 0 running' in text
    assert '| **cat' in text
    assert 'student.pth' in text


def test_what_is_finished_is_not_run_again(fanned):
    work_dir, _, results, _ = fanned
    executor = Here()
    assert evaluate(read_plan(work_dir), executor, out=io.StringIO()) == results
    assert executor.done == []
    work(str(work_dir / 'runs' / 'ce-seed0'))
    assert lines(work_dir, 'ends_ce-seed0') == ['10']


def test_a_run_whose_end_was_not_noted_is_not_run_again(fanned):
    """It was killed between its results and run.json."""
    folder = fanned[0] / 'runs' / 'uniform-seed0'
    noted = dict(read(folder, 'run.json'), finished=False)
    (folder / 'run.json').write_text(json.dumps(noted))
    work(str(folder))
    assert lines(fanned[0], 'ends_uniform-seed0') == ['10']
    assert read(folder, 'run.json')['finished'] is True


def test_other_candidates_are_other_runs(search, tmp_path):
    """What was there of others is set aside, finished or not, and nothing of it is gone on with."""
    work_dir = few(search, tmp_path / 'work')
    noted, hold = read(work_dir, 'run.json'), work_dir / 'fail_ce-seed0'
    hold.touch()
    with pytest.raises(RuntimeError, match='told to fail'):
        evaluate(read_plan(work_dir), Here(), out=io.StringIO())
    hold.unlink()
    noted['config']['optim_wrapper']['student']['optimizer']['lr'] = 0.01
    (work_dir / 'run.json').write_text(json.dumps(noted))
    executor = Here()
    evaluate(read_plan(work_dir), executor, out=io.StringIO())
    assert executor.done == FEW
    assert lines(work_dir, 'starts_ce-seed0') == ['0', '0']
    assert (work_dir / 'runs' / 'cat1-seed0.1' / 'results.json').exists()
    assert (work_dir / 'runs' / 'ce-seed0.1' / 'epoch_1.pth').exists()
    before, after = (
        read(work_dir / 'runs' / name, 'results.json') for name in ('cat1-seed0.1', 'cat1-seed0')
    )
    assert before['config_sha256'] != after['config_sha256']


def test_another_seed_is_that_of_an_evaluation_with_it(search, tmp_path):
    copy_search(search, tmp_path / 'work')
    plan, beside = read_plan(tmp_path / 'work', [3]), str(tmp_path / 'beside')
    run(replace(plan, results_dir=beside, work_dir=beside).side_by_side(3))
    wanted = next(r for r in plan.runs() if r.name == 'only_weak-seed3')
    os.makedirs(wanted.folder)
    assign(wanted)
    with quick():
        work(wanted.folder)
    prefix = 'lanes.only_weak.student.'
    alone, lanes = (weights(Path(folder) / 'epoch_2.pth') for folder in (wanted.folder, beside))
    assert same(
        {k: v for k, v in alone.items() if k.startswith(prefix)},
        {k: v for k, v in lanes.items() if k.startswith(prefix)},
    )
    results = read(tmp_path / 'beside', 'results.json')
    assert results['config_sha256'] == config_hash(plan.side_by_side(3))
    assert results['seed'] == 3


LOCKED = (
    'import fcntl, sys, time; file = open(sys.argv[1], "w"); fcntl.flock(file, fcntl.LOCK_EX); '
    'open(sys.argv[2], "w").close(); time.sleep(300)'
)


@pytest.mark.parametrize('ends_it', [False, True])
def test_two_workers_never_train_in_one_folder(search, tmp_path, monkeypatch, ends_it):
    """The second waits: it takes over once the first is killed, or finds the run finished."""
    wanted = read_plan(few(search, tmp_path / 'work')).runs()[2]
    os.makedirs(wanted.folder)
    assign(wanted)
    monkeypatch.setattr(worker_module, 'PATIENCE', 0.05)
    first = subprocess.Popen(
        [sys.executable, '-c', LOCKED, f'{wanted.folder}/run.lock', str(tmp_path / 'locked')]
    )
    until((tmp_path / 'locked').exists)
    seen = []

    def end_the_first():
        threading.Event().wait(0.5)
        seen.append(lines(tmp_path / 'work', f'starts_{wanted.name}'))
        if ends_it:
            noted = dict(_note(wanted.config), finished=True)
            Path(wanted.folder, 'run.json').write_text(json.dumps(noted))
        first.kill()

    ender = threading.Thread(target=end_the_first)
    ender.start()
    with quick():
        work(wanted.folder)
    ender.join()
    first.wait()
    assert seen == [[]]
    assert lines(tmp_path / 'work', f'starts_{wanted.name}') == ([] if ends_it else ['0'])
    assert (wanted.results() is None) == ends_it


@pytest.mark.slow
def test_what_was_killed_goes_on_by_the_same_command_under_another_executor_too(
    search, fanned, tmp_path, capfd, monkeypatch
):
    """One run is done; of two local ones one is killed; a fake Slurm goes on with it."""
    work_dir = few(search, tmp_path / 'work')
    shutil.copytree(fanned[0] / 'runs' / 'cat2-seed0', work_dir / 'runs' / 'cat2-seed0')
    (work_dir / 'hold_cat1-seed0').touch()

    def kill_it():
        until(lambda: lines(work_dir, 'held_cat1-seed0'), 600)
        os.kill(int(lines(work_dir, 'held_cat1-seed0')[0]), 9)

    killer = threading.Thread(target=kill_it)
    killer.start()
    code, errors = call('evaluate_candidates', str(work_dir), '--jobs', '2')
    killer.join()
    out = capfd.readouterr().out
    assert code == 1
    assert '2 of 3 finished, 0 running, 1 failed' in out
    assert 'cat1-seed0: killed by signal 9' in errors
    assert 'the same command goes on' in errors
    assert f'(log {work_dir / "runs" / "cat1-seed0" / "log.txt"})' in out
    assert out.count('(log ') >= 1
    assert_lanes_equal(search, work_dir, FEW[1:])
    assert not (work_dir / 'results.json').exists()
    (work_dir / 'hold_cat1-seed0').unlink()

    (tmp_path / 'state').mkdir()
    fake_slurm.install(tmp_path / 'bin')
    monkeypatch.setenv('PATH', f'{tmp_path / "bin"}:{os.environ["PATH"]}')
    monkeypatch.setenv('FAKE_SLURM', str(tmp_path / 'state'))
    monkeypatch.setattr(SlurmExecutor, 'interval', 0.2)
    command = ['evaluate_candidates', str(work_dir), '--executor', 'slurm']
    assert call(*command, '--submit-only', '--', '--time=0:10') == (0, '')
    assert '1 runs stay with Slurm' in capfd.readouterr().out
    assert call(*command)[0] == 0
    calls = [json.loads(line) for line in (tmp_path / 'state' / 'argv').read_text().splitlines()]
    assert ['--time=0:10' in call for call in calls if call[0] == 'sbatch'] == [True]
    assert [lines(work_dir, f'starts_{name}') for name in FEW] == [['0', '5'], [], ['0']]
    assert [lines(work_dir, f'ends_{name}') for name in FEW] == [['10'], [], ['10']]
    assert_lanes_equal(search, work_dir, FEW)
    beside, results = read(search, 'results.json'), read(work_dir, 'results.json')
    assert results['lanes'] == [
        row for row in beside['lanes'] if row['name'] in ('cat1', 'cat2', 'ce')
    ]
    assert results['selected'] == beside['selected']


@pytest.mark.dist
@pytest.mark.slow
def test_a_run_has_as_many_processes_as_the_search(search, tmp_path):
    """And the same global batch, so that its ranks see half of it each."""
    work_dir = few(search, tmp_path / 'work')
    noted = read(work_dir, 'run.json')
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        noted['config'][key]['batch_size'] //= 2
    (work_dir / 'run.json').write_text(json.dumps(noted))
    plan = read_plan(work_dir)
    assert plan.processes == 2
    plan.lanes.pop('cat2')
    plan.lanes.pop('ce')
    plan.candidates.remove('cat2')
    results = evaluate(plan, LocalExecutor(cpus_per_run=1), out=io.StringIO())
    assert results.processes == 2
    assert results.iterations == 10
    assert (
        read(work_dir / 'runs' / 'cat1-seed0', 'run.json')['work']['train_dataloader']['batch_size']
        == 16
    )


def test_a_search_that_stops_before_its_evaluation(tmp_path):
    work_dir = searched(
        tmp_path / 'my work', evaluate=False, single_teachers=False, num_candidates=1
    )
    assert len(read(work_dir, 'candidates.json')['candidates']) == 1
    assert not (work_dir / 'evaluation').exists()
    assert not (work_dir / 'results.json').exists()
    (log,) = work_dir.glob('*/*.log')
    assert (
        f"search done; mmdynakd evaluate '{work_dir}' --executor local evaluates" in log.read_text()
    )
    assert [run.name for run in read_plan(work_dir).runs()] == ['cat1-seed0']


def test_failed_runs_are_an_error_that_names_them(search, tmp_path):
    class Failing(Here):
        def start(self, jobs):
            self.done = [job.name for job in jobs]
            Path(jobs[0].log).write_text(
                'Traceback …\n[rank1]: torch.SomeError: told to\n\nit ends here\n'
            )

        def poll(self):
            return dict.fromkeys(self.done, 'exit status 1')

    work_dir, out = few(search, tmp_path / 'work'), io.StringIO()
    with pytest.raises(RunsFailedError) as caught:
        evaluate(read_plan(work_dir), Failing(), out=out)
    message, first, second, _ = str(caught.value).splitlines()
    assert message == '3 of 3 runs failed; the results of the others are kept:'
    log = work_dir / 'runs' / 'cat1-seed0' / 'log.txt'
    assert first == f'  cat1-seed0: exit status 1: torch.SomeError: told to (log {log})'
    assert second.startswith('  cat2-seed0: exit status 1: no output (log ')
    shown = next(
        line for line in out.getvalue().splitlines() if line.startswith('cat1-seed0  FAILED ')
    )
    assert shown.endswith(f' exit status 1: torch.SomeError: told to (log {log})')


def test_a_run_without_results_is_a_failure_once_they_had_time_to_be_seen(search, tmp_path):
    """On another machine's file system they are seen late."""

    class Late(Here):
        grace, interval = 600.0, 0.01

        def start(self, jobs):
            self.done = [job.name for job in jobs]
            self.polls = 0

        def poll(self):
            self.polls += 1
            if self.polls == 3:
                for name in self.done:
                    with quick():
                        work(str(work_dir / 'runs' / name))
            return dict.fromkeys(self.done) if self.polls == 1 else {}

    work_dir = few(search, tmp_path / 'work')
    plan, executor = read_plan(work_dir), Late()
    plan.lanes.pop('cat2')
    plan.candidates.remove('cat2')
    assert evaluate(plan, executor, out=io.StringIO()).selected == 'cat1'
    assert executor.polls >= 3
    executor.grace = 0.0
    work_dir = few(search, tmp_path / 'again')
    with pytest.raises(RunsFailedError, match='cat1-seed0: it ended without results: no output'):
        evaluate(read_plan(work_dir), executor, out=io.StringIO())
