"""``mmdynakd export`` and ``mmdynakd report``: what a run wrote, once more from its files."""

import json
import shutil

import pytest
import torch
from msgspec import structs
from runs import quick, search_config

from mmdynakd.cli.main import main
from mmdynakd.launch.run import train
from mmdynakd.values import Results, read_results, write


@pytest.fixture(scope='module')
def search(tmp_path_factory):
    """The work dir of a search with its evaluation."""
    work_dir = tmp_path_factory.mktemp('again') / 'work'
    cfg = search_config(work_dir)
    cfg.custom_hooks[0].update(single_teachers=False)
    with quick():
        train(cfg)
    return work_dir


@pytest.fixture
def work_dir(search, tmp_path):
    """A copy of it, to be written to; of the same name, which is the student's in the index."""
    return shutil.copytree(search, tmp_path / 'work')


def failed(capsys, *words) -> str:
    """The error of a command line that is a mistake."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == 2
    return capsys.readouterr().err


def weights(path) -> dict[str, torch.Tensor]:
    return torch.load(path)['state_dict']


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


# --- export ---------------------------------------------------------------------------------------


def test_the_chosen_student_is_exported_as_it_was(search, work_dir, capsys):
    for path in work_dir.glob('student.*'):
        path.unlink()
    main(['export', str(work_dir)])
    assert f'student: {work_dir}/student.pth' in capsys.readouterr().out
    old, new = torch.load(search / 'student.pth'), torch.load(work_dir / 'student.pth')
    assert new['meta'] == old['meta']
    assert same(new['state_dict'], old['state_dict'])
    index = json.loads((work_dir / 'student.yml').read_text())
    assert index['Models'][0]['Weights'] == str(work_dir / 'student.pth')


def test_a_student_can_be_tested_after_it(work_dir, tmp_path):
    main(['export', str(work_dir), '--lane', 'ce', '--out', str(tmp_path / 'ce')])
    folder = tmp_path / 'ce'
    with quick():
        main(['test', f'{folder}/student.py', f'{folder}/student.pth', '--work-dir',
              f'{folder}/test', '--out', f'{folder}/metrics.json'])  # fmt: skip
    row = next(
        row for row in read_results(str(work_dir / 'results.json')).lanes if row.name == 'ce'
    )
    assert json.loads((folder / 'metrics.json').read_text()) == row.test


def test_from_a_checkpoint_any_of_its_lanes(work_dir, tmp_path, capsys):
    evaluation = work_dir / 'evaluation' / 'epoch_2.pth'
    main(['export', str(evaluation), '--lane', 'uniform', '--out', str(tmp_path / 'a')])
    saved = weights(evaluation)
    prefix = 'lanes.uniform.student.'
    expected = {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
    assert same(weights(tmp_path / 'a' / 'student.pth'), expected)
    main(['export', str(work_dir / 'epoch_2.pth'), '--out', str(tmp_path / 'b')])  # its only lane
    assert not same(weights(tmp_path / 'b' / 'student.pth'), expected)
    assert '--lane names one of them' in failed(capsys, 'export', evaluation)


def test_of_independent_runs_the_student_of_a_seed(work_dir, tmp_path, capsys):
    run = work_dir / 'runs' / 'ce-seed3'
    shutil.copytree(work_dir, run, ignore=lambda folder, names: {'evaluation', 'runs'} & {*names})
    out = str(tmp_path / 'out')
    main(['export', str(work_dir), '--lane', 'ce', '--seed', '3', '--out', out])
    assert (tmp_path / 'out' / 'student.pth').read_bytes() == (run / 'student.pth').read_bytes()
    assert 'seed 4 was not trained' in failed(capsys, 'export', work_dir, '--seed', '4')


def test_what_cannot_be_exported_is_one_error(work_dir, tmp_path, capsys):
    assert "got 'cee' (did you mean 'ce'?)" in failed(capsys, 'export', work_dir, '--lane', 'cee')
    assert 'results.json is missing' in failed(capsys, 'export', tmp_path)
    assert 'run.json is missing' in failed(capsys, 'export', tmp_path / 'no.pth')
    for path in (work_dir / 'evaluation').glob('*.pth'):
        path.unlink()
    assert 'no checkpoint is left' in failed(capsys, 'export', work_dir)


# --- report ---------------------------------------------------------------------------------------


def test_the_tables_and_figures_of_a_run_are_the_same_again(search, work_dir, capsys):
    for name in ('results.md', 'theta.png'):
        (work_dir / name).unlink()
    main(['report', str(work_dir)])
    for name in ('results.md', 'theta.csv', 'theta.png'):
        assert (work_dir / name).read_bytes() == (search / name).read_bytes()
    table = (search / 'results.md').read_text()
    paths = f'{work_dir}/results.md\n{work_dir}/theta.png\n'
    assert capsys.readouterr().out == f'{table}\n{paths}'


def seeds_apart(results: Results) -> list[Results]:
    return [structs.replace(results, seed=seed) for seed in (0, 1)]


def test_a_study_gets_its_comparison(search, tmp_path):
    results = read_results(str(search / 'results.json'))
    for run in seeds_apart(results):
        folder = tmp_path / f'seed{run.seed}'
        folder.mkdir()
        write(str(folder), 'results.json', run)
        later = structs.replace(run.lanes[-1], name='takd', role='candidate')
        if run.seed == 0:  # the second part of seed 1 is still to come
            (folder / 'later').mkdir()
            own = structs.replace(run, lanes=(later,), selected='takd')
            write(str(folder / 'later'), 'results.json', own)
    main(['report', str(tmp_path)])
    rows = json.loads((tmp_path / 'comparison.json').read_text())['methods']
    assert 'takd' in {row['method'] for row in rows}
    assert {row['seeds'] for row in rows} == {1}
    shutil.copytree(tmp_path / 'seed0' / 'later', tmp_path / 'seed1' / 'later')
    main(['report', str(tmp_path)])
    assert 'seeds 0, 1; mean ±' in (tmp_path / 'comparison.md').read_text()


def test_several_seeds_of_independent_runs_are_compared(search, tmp_path):
    first, second = seeds_apart(read_results(str(search / 'results.json')))
    lanes = [structs.replace(row, seed=run.seed) for run in (first, second) for row in run.lanes]
    joined = structs.replace(first, lanes=tuple(lanes), seeds=(0, 1), student_seed=0)
    write(str(tmp_path), 'results.json', joined)
    main(['report', str(tmp_path)])
    assert 'seeds 0, 1; mean ±' in (tmp_path / 'comparison.md').read_text()
    assert '± 0.00' in (tmp_path / 'results.md').read_text()


def test_what_cannot_be_reported_is_one_error(work_dir, tmp_path, capsys):
    assert 'holds none of results.json' in failed(capsys, 'report', tmp_path)
    (work_dir / 'theta.csv').write_text('step,lane,strong\nx,search,0.5\n')
    assert 'theta.csv is damaged (invalid literal' in failed(capsys, 'report', work_dir)
