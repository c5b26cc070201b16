"""What is planned from a search's files, what is wrong with them, what is collected."""

import io
import json
import statistics
import time
from pathlib import Path

import pytest
from apart_runs import copy_search, few
from runs import TEACHERS, read, same, weights

from mmdynakd.errors import UserError
from mmdynakd.evaluation import check_lanes, read_plan
from mmdynakd.evaluation import display as display_module
from mmdynakd.evaluation.collect import collect
from mmdynakd.evaluation.display import Display
from mmdynakd.report.progress import (
    FAILED,
    FINISHED,
    RUNNING,
    WAITING,
    Row,
    progress_table,
    remaining,
)
from mmdynakd.values import NewerFormatError, read_results
from tools import call, content

METRIC = 'accuracy/top1'


def candidate(edit):
    return lambda content: edit(content['candidates'][0])


def theta(**values):
    return candidate(lambda one: one.update(theta=values))


# what is wrong: how to make it so, the words that say where and what; tests/values/test_reading.py
# has the file's own
WRONG = {
    'cut short': ('{"seed": 0, "teach', ['candidates.json is not valid JSON', 'cut short']),
    'no seed': (lambda c: c.pop('seed'), ['candidates.json: seed is missing']),
    'unknown teacher': (
        lambda c: c['teachers'].append('weakest'),
        ["no teachers 'weakest' (did you mean 'weak'?)"],
    ),
    'name of a baseline': (
        candidate(lambda one: one.update(name='ce')),
        ["share the names ['ce']"],
    ),
    'unknown lane': (
        candidate(lambda one: one.update(lane='other')),
        ["candidates[0]: lane 'other' is none of"],
    ),
    'theta off the simplex': (
        theta(strong=0.5, middle=0.2, weak=0.2),
        ["('cat1'): theta: θ sums to 0.9, not 1"],
    ),
    'theta by class': (theta(strong=[0.5, 1], middle=[0.5, 0]), ['θ must be 3 numbers']),
    **{
        f'name {name!r}': (
            candidate(lambda one, name=name: one.update(name=name)),
            ['candidates[0]: name must be'],
        )
        for name in ('', '..', '../up', '/etc', 'a\0b', '.hidden', 'a\nb')
    },
}


@pytest.mark.parametrize('case', WRONG)
def test_wrong_candidates_are_one_error_before_anything_starts(apart_search, tmp_path, case):
    edit, words = WRONG[case]
    work_dir = tmp_path / 'work'
    copy_search(apart_search, work_dir)
    if callable(edit):
        found = read(work_dir, 'candidates.json')
        edit(found)
        edit = json.dumps(found)
    (work_dir / 'candidates.json').write_text(edit)
    before = content(tmp_path)
    code, said = call('evaluate_candidates', str(work_dir))
    assert code == 2
    assert [word for word in words if word not in said] == []
    assert 'Traceback' not in said
    assert content(tmp_path) == before


@pytest.mark.parametrize('name', ['', '..', '../up', '/etc', 'a\0b', '.hidden', 'a\nb', 'x' * 101])
def test_baselines_that_would_leave_the_folder_are_errors(apart_search, tmp_path, name):
    copy_search(apart_search, tmp_path / 'work')
    noted = read(tmp_path / 'work', 'run.json')
    noted['config']['custom_hooks'][0]['baselines'] = {name: dict(selection=None)}
    (tmp_path / 'work' / 'run.json').write_text(json.dumps(noted))
    with pytest.raises(UserError, match='cannot name a lane'):
        read_plan(tmp_path / 'work')


@pytest.mark.parametrize(
    ('change', 'arguments', 'words'),
    [
        (
            lambda d: (d / 'run.json').unlink(),
            [],
            ['run.json is missing', 'work dir of a DynaKD search'],
        ),
        (lambda d: (d / 'run.json').write_text('{'), [], ['run.json is not valid JSON']),
        (
            lambda d: (d / 'candidates.json').unlink(),
            [],
            ['candidates.json is missing', 'has not come to its end'],
        ),
        (
            lambda d: d.joinpath('run.json').write_text(
                json.dumps(dict(config={}, work={}, versions={}))
            ),
            [],
            ['without a mmdynakd.CandidateEvaluationHook'],
        ),
        (None, ['--seeds', 1, 1], ['--seeds must be distinct and >= 0, got [1, 1]']),
        (None, ['--seeds', -1], ['--seeds must be distinct and >= 0']),
        (
            None,
            ['--gpus-per-run', 2],
            ['--gpus-per-run 2: the search shared its batch among 1 processes'],
        ),
        (
            None,
            ['--executor', 'slrum', '--partition', 'a'],
            ["no executor 'slrum' (did you mean 'slurm'?); known: local, ray, slurm"],
        ),
    ],
)
def test_what_is_no_search_or_no_sense_is_one_error(
    apart_search, tmp_path, change, arguments, words
):
    copy_search(apart_search, tmp_path / 'work')
    if change:
        change(tmp_path / 'work')
    code, said = call('evaluate_candidates', str(tmp_path / 'work'), *map(str, arguments))
    assert code == 2
    assert [word for word in words if word not in said] == []
    assert 'Traceback' not in said
    assert not (tmp_path / 'work' / 'runs').exists()


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--jobs', '0'], '--jobs: must be >= 1'),
        (['--retries', '-1'], '--retries: must be >= 0'),
        (['--partition', 'a'], 'are for --executor slurm'),
        (['--', '--time=1'], 'are for --executor slurm'),
        (['--address', 'a'], '--address is for --executor ray'),
        (['--engine', 'lokal'], 'invalid choice'),
        (['--engine', 'ray', '--submit-only'], '--engine is now called --executor'),
    ],
)
def test_wrong_arguments(tmp_path, arguments, words):
    code, said = call('evaluate_candidates', str(tmp_path), *arguments)
    assert code == 2
    assert words in said


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (
            lambda c: c['model']['teachers']['weak'].update(checkpoint='not/here.pth'),
            ['not/here.pth is missing'],
        ),
        (
            lambda c: c['custom_hooks'][0]['baselines'].update(bad=dict(selezione={})),
            ['lanes.bad', "did you mean 'selection'?"],
        ),
        (lambda c: c['model']['selection'].update(granularity='day'), ['granularity']),
    ],
)
def test_lanes_that_cannot_be_built_are_one_error(apart_search, tmp_path, change, words):
    copy_search(apart_search, tmp_path / 'work')
    noted = read(tmp_path / 'work', 'run.json')
    noted['config']['model'].setdefault('selection', {})
    change(noted['config'])
    (tmp_path / 'work' / 'run.json').write_text(json.dumps(noted))
    code, said = call('evaluate_candidates', str(tmp_path / 'work'))
    assert code == 2
    assert [word for word in words if word not in said] == []
    assert not (tmp_path / 'work' / 'runs').exists()


def test_the_plan_has_each_lane_with_each_seed(apart_search, tmp_path):
    copy_search(apart_search, tmp_path / 'work')
    plan = read_plan(tmp_path / 'work', [2, 0])
    runs = plan.runs()
    lanes = ['cat1', 'cat2', 'ce', 'uniform', *(f'only_{t}' for t in TEACHERS)]
    assert [run.name for run in runs] == [f'{lane}-seed{seed}' for seed in (2, 0) for lane in lanes]
    assert {run.lane for run in runs if run.role == 'candidate'} == {'cat1', 'cat2'}
    assert len({run.config_sha256 for run in runs}) == len({run.folder for run in runs}) == 14
    for run in runs:
        assert run.config.randomness.seed == run.seed
        assert list(run.config.model.lanes) == [run.lane]
        assert list(run.config.model.teachers) == list(TEACHERS)
    check_lanes(plan)


@pytest.fixture
def seeds(apart_search, tmp_path):
    """A plan of three lanes and three seeds, all finished, with made-up accuracies (val, test)."""
    work_dir = few(apart_search, tmp_path / 'work')
    numbers = dict(
        cat1=[(50, 10), (30, 90), (40, 50)],
        cat2=[(20, 1), (60, 2), (55, 3)],
        ce=[(99, 5), (98, 6), (97, 7)],
    )
    plan = read_plan(work_dir, [0, 1, 2])
    template = read(apart_search, 'results.json')
    rows = {row['name']: row for row in template['lanes']}
    runs = plan.runs()
    for run in runs:
        val, test = numbers[run.lane][run.seed]
        row = dict(rows[run.lane], role='candidate', val={METRIC: val}, test={METRIC: test})
        folder = Path(run.folder)
        folder.mkdir(parents=True)
        made_up = dict(
            template,
            selected=run.lane,
            seed=run.seed,
            lanes=[row],
            config_sha256=run.config_sha256,
        )
        (folder / 'results.json').write_text(json.dumps(made_up))
        for name in ('student.py', 'student.yml'):
            (folder / name).write_text((apart_search / name).read_text())
        (folder / 'student.pth').write_text(run.name)
    return work_dir, plan, runs, numbers


def test_several_seeds_choose_by_the_mean_on_val(seeds):
    """cat2 (45 on val) wins over cat1 (40), which leads on test and in seed 0."""
    work_dir, plan, runs, numbers = seeds
    collected, results = collect(plan, runs), read(work_dir, 'results.json')
    assert collected == read_results(str(work_dir / 'results.json'))
    assert (results['selected'], results['student_seed'], results['seeds']) == (
        'cat2',
        1,
        [0, 1, 2],
    )
    assert (work_dir / 'student.pth').read_text() == 'cat2-seed1'
    assert [(row['name'], row['seed'], row['role']) for row in results['lanes']] == [
        (lane, seed, 'baseline' if lane == 'ce' else 'candidate')
        for seed in range(3)
        for lane in numbers
    ]
    for entry in results['summary']:
        for split, place in (('val', 0), ('test', 1)):
            values = [pair[place] for pair in numbers[entry['name']]]
            assert entry[split] == dict(
                mean=pytest.approx(statistics.fmean(values)),
                std=pytest.approx(statistics.stdev(values)),
            )
    table = (work_dir / 'results.md').read_text()
    assert '| **cat2** (Cat*) | 45.00 ± 21.79 | 2.00 ± 1.00 |' in table
    assert '| ce | 98.00 ± 1.00 |' in table
    assert 'seeds 0, 1, 2, mean ± standard deviation' in table
    methods = read(work_dir, 'comparison.json')['methods']
    comparison = {row['method']: row for row in methods}
    assert comparison['DynaKD (Cat*)']['test'] == [1, 2, 3]
    assert comparison['ce']['difference'] == pytest.approx(4)


def test_results_of_another_config_are_none(seeds):
    _, _, runs, _ = seeds
    assert runs[0].results() is not None
    path = Path(runs[0].folder, 'results.json')
    newer = dict(json.loads(path.read_text()), format=2)
    for text in ('{', '[]', json.dumps(dict(config_sha256='0' * 64))):
        path.write_text(text)
        assert runs[0].results() is None
    path.write_text(json.dumps(newer))  # not to be overwritten by another training
    with pytest.raises(NewerFormatError, match='newer version of mmdynakd'):
        runs[0].results()


def test_a_failed_export_leaves_the_results_unwritten(seeds):
    work_dir, plan, runs, _ = seeds
    (work_dir / 'runs' / 'cat2-seed1' / 'student.pth').unlink()
    with pytest.raises(FileNotFoundError):
        collect(plan, runs)
    assert not (work_dir / 'results.json').exists()


def rows():
    return [
        Row('a', FINISHED, val=71.234),
        Row('b', RUNNING, 120, 480, 240, 2.0, note='node1 17'),
        Row('c'),
        Row('d', WAITING, 240, 480, 240),
        Row('e', FAILED, note='exit status 1 (log x)'),
        Row('f', RUNNING, 30, 90, 1),
    ]


def test_the_table():
    assert progress_table(rows()).splitlines() == [
        'run  state                         val    left',
        'a    finished                      71.23',
        'b    epoch 61 of 240                      0:12:00  node1 17',
        'c    waiting',
        'd    waiting, at epoch 121 of 240',
        'e    FAILED                                        exit status 1 (log x)',
        'f    iteration 30 of 90',
        '1 of 6 finished, 2 running, 1 failed; about 0:38:00 left',
    ]


def test_what_is_left():
    """One at a time: b has 360 × 2 s left; c takes 480 × 2 s, d 240 × 2 s, f 60 × 2 s."""
    assert remaining(rows()) == (360 + 480 + 240 + 60) * 2
    assert remaining([Row('a')]) is None
    assert remaining([]) is None
    two = [
        Row('a', RUNNING, 10, 100, seconds=1.0),
        Row('b', RUNNING, 90, 100, seconds=1.0),
        Row('c'),
    ]
    assert remaining(two) == (90 + 10 + 100) / 2  # two at a time
    assert remaining(two[:2]) == 90  # no sooner than the longest


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_redrawn_and_a_log_has_a_line_a_change(seeds, monkeypatch):
    runs = seeds[2]
    unfinished = Path(runs[1].folder)
    (unfinished / 'results.json').unlink()
    terminal, log = Terminal(), io.StringIO()
    shown, logged = Display(runs[:2], METRIC, terminal), Display(runs[:2], METRIC, log)
    monkeypatch.setattr(display_module, 'EVERY', 1e9)
    for display in (shown, logged):
        for _ in range(2):
            display.show({}, {})
    first, again = terminal.getvalue().split('\x1b[4F\x1b[J')
    assert (
        first
        == again
        == progress_table([Row('cat1-seed0', FINISHED, val=50.0), Row('cat2-seed0')]) + '\n'
    )
    assert (
        log.getvalue() == 'cat1-seed0: finished\ncat2-seed0: waiting\n1 of 2 finished, 0 running\n'
    )
    now = time.time()
    (unfinished / 'progress.json').write_text(
        json.dumps(
            dict(
                iteration=30,
                iterations=100,
                epochs=10,
                since=20,
                start=now - 5,
                now=now,
                host='h',
                pid=7,
            )
        )
    )
    logged.show({}, {'cat2-seed0': 'GPU 3'})
    assert log.getvalue().endswith(
        'cat2-seed0: epoch 4 of 10 (h 7, GPU 3)\n1 of 2 finished, 1 running; about 0:00:35 left\n'
    )
    logged.show({'cat2-seed0': 'exit status 1'}, {}, last=True)
    assert log.getvalue().endswith('1 of 2 finished, 0 running, 1 failed\n')


def test_a_run_s_student_is_copied_whole(apart_search, tmp_path):
    from mmdynakd.export.student import copy_student

    copy_student(str(apart_search), str(tmp_path))
    assert same(weights(tmp_path / 'student.pth'), weights(apart_search / 'student.pth'))
    assert read(tmp_path, 'student.yml')['Models'][0]['Weights'] == str(tmp_path / 'student.pth')
