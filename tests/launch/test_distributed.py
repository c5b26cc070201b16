"""``tools/dist_train.sh``: two processes, killed and started again, make what one makes."""

import os
import socket
import subprocess
import sys
import time

import pytest
import torch
from dist_cases import GLOBAL_BATCH, dist_config
from runs import CHECKOUT, quick, read, run

pytestmark = [pytest.mark.dist, pytest.mark.slow]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def launch(cfg, folder, processes: int) -> subprocess.CompletedProcess:
    """``tools/dist_train.sh`` on the CPU, as a user would start it."""
    with quick():
        cfg.dump(folder / 'config.py')
    env = dict(
        os.environ,
        PORT=str(free_port()),
        PYTHON=sys.executable,
        OMP_NUM_THREADS='1',
        CUDA_VISIBLE_DEVICES='',
        PYTHONPATH=os.pathsep.join([str(CHECKOUT / 'tests' / 'helpers'), str(CHECKOUT)]),
    )
    command = [
        'bash',
        str(CHECKOUT / 'tools' / 'dist_train.sh'),
        str(folder / 'config.py'),
        str(processes),
        '--work-dir',
        str(folder / 'two'),
    ]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=300)


def faulty(folder, kind: str):
    """The run of two processes; one of them fails once, in the second epoch."""
    cfg = dist_config(folder, folder / 'two', 2)
    cfg.custom_hooks.append(
        dict(type='Fault', kind=kind, at=6, rank=1, marker=str(folder / 'failed'))
    )
    return cfg


@pytest.fixture(scope='module')
def both(tmp_path_factory):
    """The work dirs of one process and of two; how the two ended first; seconds after the fault.

    One of the two was killed; then the same command was given again.
    """
    folder = tmp_path_factory.mktemp('distributed')
    killed = launch(faulty(folder, 'kill'), folder, 2)
    seconds = time.time() - (folder / 'failed').stat().st_mtime
    again = launch(faulty(folder, 'kill'), folder, 2)
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    run(dist_config(folder, folder / 'one', 1))
    return folder / 'one', folder / 'two', killed, seconds


def witness(work, stage: str, rank: int) -> dict:
    return torch.load(work / stage / f'rank{rank}.pth', weights_only=True)


def furthest(first: dict, second: dict, wanted: str) -> float:
    assert first.keys() == second.keys()
    gaps = [
        (first[key].double() - second[key].double()).abs().max() for key in first if wanted in key
    ]
    return torch.stack(gaps).max().item()


STAGES = ['.', 'evaluation']


def test_a_killed_process_ends_the_others_within_a_minute(both):
    _, _, killed, seconds = both
    assert killed.returncode != 0
    assert seconds < 60
    last = killed.stderr.splitlines()[-2:]
    assert last[0].startswith('rank 1 (process ')
    assert 'was killed by SIGKILL' in last[0]
    assert 'The same command goes on from the last checkpoint' in last[1]


def test_an_error_of_one_process_ends_the_others_and_is_shown(tmp_path):
    cfg = faulty(tmp_path, 'error')
    cfg.custom_hooks[-1].update(at=1)
    ended = launch(cfg, tmp_path, 2)
    assert ended.returncode != 0
    assert time.time() - (tmp_path / 'failed').stat().st_mtime < 60
    assert 'RuntimeError: this rank has had enough' in ended.stderr
    assert 'rank 1 (process ' in ended.stderr.splitlines()[-2]


def test_the_launcher_writes_all_results(both):
    results = read(both[1], 'results.json')
    assert results['processes'] == 2
    assert [row['name'] for row in results['lanes']] == ['cat1', 'cat2']
    exported = torch.load(both[1] / 'student.pth', weights_only=True)['state_dict']
    prefix = f'lanes.{results["selected"]}.student.'
    trained = witness(both[1], 'evaluation', 0)['state_dict']
    assert all(torch.equal(value, trained[prefix + key]) for key, value in exported.items())


@pytest.mark.parametrize(('stage', 'done'), [('.', 4), ('evaluation', 0)])
def test_the_batches_are_the_same(both, stage, done):
    """From the checkpoint on from which it went on."""
    whole = witness(both[0], stage, 0)['ids']
    halves = [witness(both[1], stage, rank)['ids'] for rank in (0, 1)]
    assert [sorted(ids) for ids in whole[done:]] == [
        sorted(a + b) for a, b in zip(*halves, strict=True)
    ]
    assert len(whole) == 8
    assert all(len(a) == len(b) == GLOBAL_BATCH // 2 for a, b in zip(*halves))


@pytest.mark.parametrize('stage', STAGES)
def test_processes_agree_bit_for_bit(both, stage):
    first, second = (witness(both[1], stage, rank)['state_dict'] for rank in (0, 1))
    assert furthest(first, second, '') == 0


def test_theta_is_that_of_one_process(both):
    one, two = (read(work, 'candidates.json')['candidates'] for work in both[:2])
    for single, double in zip(one, two, strict=True):
        assert list(double['theta'].values()) == pytest.approx(
            list(single['theta'].values()), abs=1e-6
        )
        assert double['upper_loss'] == pytest.approx(single['upper_loss'], rel=1e-4)
        assert (
            max(abs(value - 1 / 3) for value in single['theta'].values()) > 0.01
        )  # far from uniform for abs=1e-6


@pytest.mark.parametrize('stage', STAGES)
def test_students_are_those_of_one_process(both, stage):
    one, two = (witness(work, stage, 0)['state_dict'] for work in both[:2])
    assert furthest(one, two, 'student') < 1e-5


def test_metrics_are_those_of_one_process(both):
    one, two = (read(work, 'results.json') for work in both[:2])
    assert one['selected'] == two['selected']
    for single, double in zip(one['lanes'], two['lanes'], strict=True):
        assert (double['val'], double['test']) == (single['val'], single['test'])
