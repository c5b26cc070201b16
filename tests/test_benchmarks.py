"""The scripts of benchmarks/, small: that they compare what they say; what they measure is open."""

import importlib
import re
import sys
from collections.abc import Callable

import pytest
import torch
from mmengine.registry import DefaultScope
from runs import CHECKOUT, quick

LINUX = pytest.mark.skipif(sys.platform != 'linux', reason='memory is read from /proc')
SMALL = ['--batch', '2', '--steps', '2', '--device', 'cpu']
REHEARSAL = [
    '--device',
    'cpu',
    '--fast',
    'fp32',
    '--images',
    '8',
    '--batch',
    '4',
    '--depth',
    '8',
    '--teacher-depth',
    '8',
    '--candidates',
    '1',
]
PAIR = [*SMALL, '--turn', '1', '--teacher', '8', '--depth', '8', '--images', '8', '--no-compile']


@pytest.fixture
def script(monkeypatch, capsys) -> Callable[..., str]:
    """Runs a script's ``main`` in this process, sparing the imports, and gives what it printed."""
    monkeypatch.syspath_prepend(str(CHECKOUT / 'benchmarks'))
    state, threads = torch.get_rng_state(), torch.get_num_threads()

    def run(name: str, *args: str) -> str:
        capsys.readouterr()
        main = importlib.import_module(name).main
        main(list(args)) if args else main()
        return capsys.readouterr().out

    yield run
    torch.set_rng_state(state)
    torch.set_num_threads(threads)
    DefaultScope._instance_dict.clear()


def ratio(printed: str) -> float:
    """Of the last line."""
    found = re.fullmatch(r'ratio: (\d+\.\d\d)', printed.splitlines()[-1])
    assert found, printed
    return float(found[1])


def about(value: float):
    """Two digits and three of one number."""
    return pytest.approx(value, abs=0.0056)


def rows(printed: str) -> list[list[str]]:
    """Cells of all tables, heads and rules included."""
    return [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in printed.splitlines()
        if line[:1] == '|'
    ]


def goals(printed: str) -> dict[str, tuple[float, str]]:
    """Measured value and verdict by goal."""
    found = re.findall(r'^goal: (.+): (\S+), wanted (?:<=|>=) \S+: (met|not met)$', printed, re.M)
    return {what: (float(value), met) for what, value, met in found}


def test_environment_and_goals(script, capsys):
    common = importlib.import_module('common')
    line = common.environment('cpu')
    assert f'torch {torch.__version__}' in line
    assert 'bf16 instructions: ' in line
    assert re.search(r'\d{4}-\d\d-\d\d$', line)
    assert common.goal('a', 1.03, '<=', 1.03)
    assert not common.goal('b', 1.9, '>=', 2)
    assert goals(capsys.readouterr().out) == dict(a=(1.03, 'met'), b=(1.9, 'not met'))


def test_stratified_is_a_mean_of_medians_by_draw(script):
    stratified = importlib.import_module('common').stratified
    # a: 1, 1, 9 -> 1; b: 4: (3 · 1 + 1 · 4) / 4; the outlier counts for nothing
    assert stratified([1, 4, 9, 1], ['a', 'b', 'a', 'a']) == 7 / 4


def test_every_side_has_its_turn_first(script):
    turns = importlib.import_module('common').turns
    seen = list(turns(['a', 'b', 'c'], rounds=3, warmup=1))
    assert [number for number, _ in seen] == [-1, 0, 1, 2]
    assert sorted(names[0] for number, names in seen if number >= 0) == ['a', 'b', 'c']
    assert all(sorted(names) == ['a', 'b', 'c'] for _, names in seen)


def test_step_cost(script):
    printed = script('step_cost', *SMALL, '--depth', '8', '--teachers', '14', '8')
    table = rows(printed)
    assert [row[0] for row in table[2:]] == ['1', '2']
    assert 'with all averaged' in printed
    measured = goals(printed)
    worst = next(value for what, (value, _) in measured.items() if 'worst n' in what)
    assert len(measured) == 2
    assert ratio(printed) == max(float(row[4]) for row in table[2:])
    assert worst == about(ratio(printed))


def test_step_cost_draws_what_the_model_draws(script):
    step_cost, _networks = (importlib.import_module(name) for name in ('step_cost', 'networks'))
    args = step_cost.arguments(None, batch=2, depth=8).parse_args(['--device', 'cpu'])
    args.teachers, args.counts = [14, 8], [2]
    sides = step_cost.Sides(args)
    model, ran = sides.drawing[2].model, []
    run = model.ensemble.run
    model.ensemble.run = lambda names, *rest: ran.extend(names) or run(names, *rest)
    for number in range(6):
        sides.step(2, number)
    assert ran == [f'r{depth}' for depth in sides.who[2]]
    assert len(set(ran)) == 2
    assert len(sides.own[2]) == len(sides.alone[2]) == 6


def test_against_mmrazor(script):
    printed = script('against_mmrazor', *PAIR, '--bf16')
    sides = [row[0] for row in rows(printed)[2:]]
    assert len(sides) == 6
    assert sum('DynaKD' in side for side in sides) == 3
    assert sum('bare' in s for s in sides) == 2
    measured = goals(printed)
    assert len(measured) == 4
    assert max(value for what, (value, _) in measured.items() if 'MMRazor' in what) == about(
        ratio(printed)
    )


def test_other_weights_are_no_comparison(script, tmp_path):
    pairs, mmrazor = (importlib.import_module(name) for name in ('pairs', 'against_mmrazor'))
    args = pairs.options([*PAIR], None)
    sides = mmrazor.Sides(args, tmp_path)
    pairs.check(sides.losses(), mmrazor.MMRAZOR)
    with torch.no_grad():
        sides.all[pairs.ours('fp32')].runner.model.architecture.head.fc.weight.mul_(2)
    with pytest.raises(RuntimeError, match="fast='fp32' does not train what MMRazor's"):
        pairs.check(sides.losses(), mmrazor.MMRAZOR)


def test_against_torchdistill(script):
    pytest.importorskip('torchdistill')
    printed = script('against_torchdistill', *PAIR)
    losses = re.search(r'the loss of one batch: torchdistill (\S+); .* (\S+)$', printed, re.M)
    assert float(losses[1]) == pytest.approx(float(losses[2]), abs=2e-4)  # four decimals are shown
    assert [row[0] for row in rows(printed)[2:4]] == [
        'torchdistill',
        "DynaKD, fast='fp32'",
    ]
    assert ratio(printed) > 0


def test_torchdistill_missing(script, monkeypatch):
    against = importlib.import_module('against_torchdistill')
    monkeypatch.setitem(sys.modules, 'torchdistill', None)
    with pytest.raises(SystemExit, match='pip install torchdistill'):
        against.main(PAIR)


def test_side_by_side(script):
    printed = script('side_by_side', *SMALL, '--scenarios', 'tiny')
    difference = float(re.search(r'differ by at most (\S+)', printed)[1])
    distinct = float(re.search(r'^(\S+) distinct teachers a step', printed, re.M)[1])
    assert difference <= 1e-6
    assert 1 <= distinct <= 2
    assert rows(printed)[-1][0] == 'ratio'
    assert next(iter(goals(printed).values()))[0] == about(ratio(printed))


def test_side_by_side_notices_another_student(script):
    side = importlib.import_module('side_by_side')
    args = side.arguments(None, batch=2, steps=1).parse_args(['--device', 'cpu'])
    args.fast = None
    race = side.Race(side.SCENARIOS['tiny'], args)
    with torch.no_grad():
        race.solos['c1'].model.architecture.head.fc.weight.mul_(3)
    actions = race.actions()
    actions['lanes'](), actions['c0']()
    with pytest.raises(RuntimeError, match='a lane and its solo run differ'):
        actions['c1']()


def test_predicted_from_parts(script):
    side = importlib.import_module('side_by_side')
    times = {'teacher r56': 4.0, 'teacher r8': 1.0, 'student': 2.0}
    # two students; the first step one distinct teacher (4), the second both (5)
    assert side.predicted(times, [(56, 56), (56, 8)]) == ((4 + 5) / 2 + 4, (8 + 5) / 2 + 4)


@LINUX
def test_soak(script):
    with quick():
        printed = script('soak', '--steps', '40', '--batch', '32')
    assert [row[0] for row in rows(printed)[-10:]] == [str(step) for step in range(4, 41, 4)]
    assert 0.9 < ratio(printed) < 1.2
    assert len(goals(printed)) == 5
    assert goals(printed)['open files more after all steps than after a tenth'][1] == 'met'


@LINUX
@pytest.mark.slow
def test_growth(script, tmp_path):
    printed = script(
        'growth',
        *SMALL,
        '--depth',
        '8',
        '--teacher',
        '8',
        '--total',
        '20',
        '--teachers-values',
        '1',
        '--lanes-values',
        '1',
        '3',
        '--batch-values',
        '--out',
        str(tmp_path),
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f'growth_{n}.png' for n in ('lanes', 'steps', 'teachers')
    ]
    one, three = rows(printed)[5:7]
    assert (one[0], three[0]) == ('1', '3')
    assert one[3] == three[3], "the lanes' teachers are shared"
    assert float(three[4]) == pytest.approx(3 * float(one[4]), abs=0.02)
    assert [row[0] for row in rows(printed)[-10:]] == [str(step) for step in range(2, 21, 2)]
    assert 0.9 < ratio(printed) < 1.2
    assert len(goals(printed)) == 3


def test_gpu_says_what_it_needs(script, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(SystemExit) as ended:
        script('gpu', '--epochs', '1')
    assert ended.value.code == 2
    assert 'needs a CUDA GPU' in capsys.readouterr().err


def test_gpu_rehearsed(script):
    with quick():
        printed = script(
            'gpu', *REHEARSAL, '--parts', 'stages', '--epochs', '1', '--stock-epochs', '1'
        )
    table = rows(printed)[2:]
    assert [row[1] for row in table] == ['stock', "fast='fp32'", 'stock']
    assert all(
        float(row[3]) > 0 and float(row[4]) > 0 for row in table
    )  # images a second of both stages
    assert 'test accuracy: cat1 ' in printed
    assert ratio(printed) > 0


@pytest.mark.slow
def test_gpu_profile(script):
    with quick():
        printed = script('gpu', *REHEARSAL, '--profile')
    assert 'aten::' in printed
    assert 'Self CPU' in printed
    assert 'ratio' not in printed


def test_gpu_stock_is_stock(script, tmp_path):
    gpu, configs = (importlib.import_module(name) for name in ('gpu', 'gpu_configs'))
    args = gpu.parse(REHEARSAL)
    stock, fast = (configs.config(args, switch, 1, tmp_path) for switch in (None, 'bf16'))
    assert stock.model.fast is None
    assert fast.model.fast == 'bf16'
    loaders = [[cfg.train_dataloader, cfg.train_cfg.upper_dataloader] for cfg in (stock, fast)]
    assert [[loader.dataset.type for loader in pair] for pair in loaders] == [
        ['mmpretrain.RandomImages'] * 2,
        ['mmdynakd.ArrayDataset'] * 2,
    ]
    assert [step.type for step in stock.train_dataloader.dataset.pipeline] == [
        'RandomCrop',
        'RandomFlip',
        'PackInputs',
    ]
    assert stock.default_hooks.runtime_info.type == 'RuntimeInfoHook'
    assert stock.train_cfg.upper_cache_mb == 0
    kd = configs.distillation(args, None, 1, tmp_path)
    assert list(kd.model.teachers) == ['resnet56'] == kd.model.teacher_order
    assert 'upper_dataloader' not in kd.train_cfg


PASSES = (
    '"""What passes.\n\nMore."""\nprint("goal: speed: 2.00, wanted >= 1.50: met\\nratio: 2.00")\n'
)
FAILS = '"""What fails."""\nimport sys\nprint("before")\nsys.exit("no such thing")\n'


@pytest.fixture
def bench(script, monkeypatch, tmp_path):
    """run_all over made scripts, and its page."""
    run_all = importlib.import_module('run_all')
    for name, text in dict(
        passes=PASSES, fails=FAILS, other=PASSES.replace('2.00', '3.00')
    ).items():
        (tmp_path / f'{name}.py').write_text(text)
    monkeypatch.setattr(run_all, 'HERE', tmp_path)
    monkeypatch.setattr(run_all, 'SCRIPTS', dict(fails=[], passes=['--small'], other=[]))
    page = tmp_path / 'docs' / 'performance.md'
    return lambda *args: run_all.main([*args, '--page', str(page)]), page


def test_run_all_keeps_what_the_others_give(bench):
    run, page = bench
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 1
    text = page.read_text()
    assert re.findall('^## (.*)', text, re.M) == ['fails', 'passes', 'other']
    assert 'What passes.' in text
    assert 'More.' not in text
    assert '`python benchmarks/passes.py`' in text
    assert ['[passes](#passes)', 'speed', '2.00', '>= 1.50', 'met'] in rows(text)
    assert ['[fails](#fails)', 'the script failed', '', '', 'not met'] in rows(text)
    assert 'Failed with exit status 1: no such thing' in text
    assert '```text\nbefore\n```' in text


def test_run_all_only(bench):
    run, page = bench
    with pytest.raises(SystemExit):
        run()
    before = page.read_text()
    (page.parents[1] / 'fails.py').write_text(PASSES.replace('2.00', '4.00'))
    with pytest.raises(SystemExit) as ended:
        run('--only', 'fails', '--quick')
    text = page.read_text()
    assert ended.value.code == 0
    assert 'Failed' not in text
    assert text.count('no figure to quote') == 1
    assert text[text.index('## passes') :] == before[before.index('## passes') :]
    assert ['[fails](#fails)', 'speed', '4.00', '>= 1.50', 'small settings'] in rows(text)


def test_run_all_knows_every_script(script):
    run_all = importlib.import_module('run_all')
    scripts = {
        path.stem
        for path in (CHECKOUT / 'benchmarks').glob('*.py')
        if '\nif __name__' in path.read_text()
    }
    assert set(run_all.SCRIPTS) == scripts - {'run_all'}
    assert all(
        run_all.first_line(CHECKOUT / 'benchmarks' / f'{name}.py') for name in run_all.SCRIPTS
    )


def by_command_line(script, monkeypatch, name: str, *args: str) -> str:
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', *args])
    return script(name)


def test_data(script, monkeypatch):
    printed = by_command_line(
        script, monkeypatch, 'data', '--images', '600', '--batches', '1', '--rounds', '1'
    )
    table = {row[0]: row for row in rows(printed)[2:]}
    assert set(table) == {'64', '128', '512'}
    assert float(table['128'][3]) == ratio(printed) > 1


def test_store(script, monkeypatch):
    printed = by_command_line(
        script, monkeypatch, 'store', *SMALL, '--depth', '8', '--teachers', '8'
    )
    half, full = rows(printed)[2:]
    assert float(half[5]) == ratio(printed) > 0
    assert float(half[6]) > float(full[6]) == 0


def test_upper_step(script, monkeypatch):
    printed = by_command_line(
        script, monkeypatch, 'upper_step', *SMALL, '--depth', '8', '--teachers', '8', '14'
    )
    kept = next(row for row in rows(printed) if row[0] == 'first_order kept')
    assert float(kept[2]) == ratio(printed) > 0
    assert len(goals(printed)) == 3


@LINUX
@pytest.mark.slow
def test_theta_options(script, monkeypatch):
    small = [
        '--batch',
        '4',
        '--steps',
        '1',
        '--depth',
        '8',
        '--teachers',
        '8',
        '14',
        '--device',
        'cpu',
        '--only',
        "the paper's",
    ]
    row = rows(by_command_line(script, monkeypatch, 'theta_options', *small))[-1]
    assert row[0] == "the paper's"
    assert row[2] == row[4] == '1.00'
    assert float(row[1]) > 0
    assert float(row[3]) > 0
    assert float(row[5]) >= 0
