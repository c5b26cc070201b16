"""1, 2 and 4 processes with one global batch draw the same teachers, and end with equal weights."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from dist_cases import GLOBAL_BATCH, RESUMED, SIZES, UNEVEN, VARIANTS, worlds
from runs import CHECKOUT, read

pytestmark = [pytest.mark.dist, pytest.mark.slow]

EXACT = (1e-12, 1e-12)
BOUNDS = {  # of θ and of the students' weights, where it is not EXACT
    'float32': (1e-6, 1e-6),
    'float32, unrolled': (1e-6, 1e-6),
    'bfloat16': (2e-3, 1e-4),
    'bfloat16, unrolled': (2e-3, 1e-4),
}  # gradients of weights are rounded to 8 bits
CASES = [(name, world) for name in VARIANTS for world in worlds(name) if world > 1]


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """All runs, made in one go."""
    folder = tmp_path_factory.mktemp('ranks')
    env = dict(
        os.environ,
        OMP_NUM_THREADS='1',
        CUDA_VISIBLE_DEVICES='',
        PYTHONPATH=os.pathsep.join([str(CHECKOUT / 'tests' / 'helpers'), str(CHECKOUT)]),
    )
    ended = subprocess.run(
        [sys.executable, str(CHECKOUT / 'tests' / 'helpers' / 'dist_worker.py'), str(folder)],
        env=env,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert ended.returncode == 0, ended.stderr[-6000:]
    return folder


def witnesses(work: Path, world: int) -> list[dict]:
    return [torch.load(work / f'rank{rank}.pth', weights_only=True) for rank in range(world)]


def compared(folder: Path, name: str, world: int) -> tuple[dict, list[dict]]:
    """What one process saw and made, and what each of several did."""
    return witnesses(folder / '1' / name, 1)[0], witnesses(folder / str(world) / name, world)


def gap(first: dict, second: dict, wanted: str = '') -> float:
    """The largest difference between two state dicts of one structure."""
    assert first.keys() == second.keys()
    return max(
        [
            (first[key].double() - second[key].double()).abs().max().item()
            for key in first
            if wanted in key
        ]
    )


def thetas(state: dict) -> dict:
    return {
        key: alpha.double().softmax(-1) for key, alpha in state.items() if key.endswith('.alpha')
    }


def assert_same_draws(one: list[dict], parts: list[list[dict]]) -> None:
    """By step: each sample's teachers are those of one process, its factor equal to rounding."""
    for step, whole in enumerate(one):
        together = {sample: drawn for part in parts for sample, drawn in part[step].items()}
        assert together.keys() == whole.keys()
        for sample, (names, factor) in whole.items():
            assert together[sample][0] == names
            assert together[sample][1] == pytest.approx(factor, abs=2e-3)


@pytest.mark.parametrize(('name', 'world'), CASES)
def test_the_batches_are_the_same(folder, name, world):
    one, ranks = compared(folder, name, world)
    for key, size in zip(('ids', 'upper_ids'), SIZES):
        assert [sorted(batch) for batch in one[key]] == [
            sorted(itertools.chain(*parts))
            for parts in zip(*(rank[key] for rank in ranks), strict=True)
        ]
        assert {len(batch) for batch in one[key]} == {GLOBAL_BATCH, size % GLOBAL_BATCH}
        assert any(
            len(set(map(len, parts))) == 2 for parts in zip(*(rank[key] for rank in ranks))
        )  # unequal shares


@pytest.mark.parametrize(('name', 'world'), CASES)
def test_the_draws_are_the_same(folder, name, world):
    one, ranks = compared(folder, name, world)
    for lane, steps in one['draws'].items():
        assert_same_draws(steps, [rank['draws'][lane] for rank in ranks])
    assert len({names[0] for step in one['draws']['search'] for names, _ in step.values()}) > 1


@pytest.mark.parametrize(('name', 'world'), CASES)
def test_theta_and_students_are_those_of_one_process(folder, name, world):
    one, ranks = compared(folder, name, world)
    theta, student = BOUNDS.get(name, EXACT)
    first, second = one['state_dict'], ranks[0]['state_dict']
    assert gap(thetas(first), thetas(second)) < theta
    assert gap(first, second, 'student') < student
    if any('distiller' in key for key in first):
        assert gap(first, second, 'distiller') < student
    uniform = {key: torch.full_like(value, 1 / 3) for key, value in thetas(first).items()}
    assert gap(thetas(first), uniform) > 0.001  # θ moved
    assert one['upper_loss'] == pytest.approx(
        ranks[-1]['upper_loss'], abs=max(theta, 1e-5 if student > 1e-12 else 0)
    )


@pytest.mark.parametrize('objective', ['', ', unrolled'])
def test_all_that_bfloat16_adds_is_where_gradients_are_rounded(folder, objective):
    """Two processes equal one that rounds the gradients of each share as they do."""
    (first,) = witnesses(folder / '1' / f'bfloat16 by shares{objective}', 1)
    second = witnesses(folder / '2' / f'bfloat16{objective}', 2)[0]
    assert gap(thetas(first['state_dict']), thetas(second['state_dict'])) < 1e-6
    assert gap(first['state_dict'], second['state_dict'], 'student') < 1e-6


@pytest.mark.parametrize(('name', 'world'), CASES)
def test_the_processes_agree_bit_for_bit(folder, name, world):
    _, ranks = compared(folder, name, world)
    assert all(gap(ranks[0]['state_dict'], rank['state_dict']) == 0 for rank in ranks[1:])


def test_every_collective_within_a_draw_would_have_been_an_error(folder):
    """The draws above were made under this very watch."""
    for rank in range(2):
        assert (
            folder / f'refused{rank}.txt'
        ).read_text() == 'all_reduce broadcast all_gather objects barrier'


@pytest.mark.parametrize('case', RESUMED)
def test_a_run_goes_on_with_another_number_of_processes(folder, case):
    _, world, (_at, stage) = RESUMED[case]
    for name in ('.', 'evaluation'):
        (whole,) = witnesses(folder / 'whole' / name, 1)
        ranks = witnesses(folder / case / name, world)
        assert gap(whole['state_dict'], ranks[0]['state_dict']) < 1e-12
        for lane, steps in whole['draws'].items():
            done = len(steps) - len(ranks[0]['ids'])
            assert_same_draws(steps[done:], [rank['draws'].get(lane) for rank in ranks])
        if name == stage or (name == '.' and stage == case):
            assert done == 3  # it went on after the first epoch of two
    first, second = (read(folder / run, 'candidates.json')['candidates'] for run in ('whole', case))
    assert [c['theta'] for c in second] == [pytest.approx(c['theta'], abs=1e-12) for c in first]
    first, second = (read(folder / run, 'results.json') for run in ('whole', case))
    assert second['selected'] == first['selected']
    assert [(lane['val'], lane['test']) for lane in second['lanes']] == [
        (lane['val'], lane['test']) for lane in first['lanes']
    ]


@pytest.mark.parametrize(
    ('name', 'key'), [('train', 'train_dataloader'), ('others', 'train_cfg.upper_dataloader')]
)
def test_unequal_numbers_of_batches_are_an_error_on_every_rank(folder, name, key):
    first, second = [(folder / f'{name}{rank}.txt').read_text() for rank in range(2)]
    train, others = UNEVEN[name]
    lengths = (
        [-(-train // GLOBAL_BATCH), train // GLOBAL_BATCH]
        if name == 'train'
        else [-(-others // GLOBAL_BATCH), others // GLOBAL_BATCH]
    )
    assert first == second
    assert f'{key} has {lengths} batches on ranks 0 to 1' in first
    assert f'{key}.sampler.round_up=True' in first
    assert f'{key}.drop_last=True' in first
