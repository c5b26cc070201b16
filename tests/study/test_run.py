"""mmdynakd study: assistants, both runs of a seed, the table; finished runs are not repeated."""

from pathlib import Path
from unittest import mock

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from runs import CHECKOUT, TEACHERS, quick, read, search_config
from toys import bilevel, made_batch

from mmdynakd.evaluation.lanes import search_hook
from mmdynakd.registry import MODELS
from mmdynakd.study.run import _Study, run_study

RIVALS = [
    'ce',
    'uniform',
    'skdbert_uniform',
    'aver_logits',
    'aver',
    'ebkd',
    'aekd',
    'camkd',
    'camkd_feature',
    'subset',
]
LATER = ['takd', 'dgkd', 'skdbert_teacher', 'skdbert_student']


def config(work, seeds=(0, 1)):
    """``configs/benchmarks/digits_all_methods.py`` on the small search of the tests."""
    cfg = search_config(work)
    whole = Config.fromfile(CHECKOUT / 'configs' / 'benchmarks' / 'digits_all_methods.py')
    cfg.custom_hooks[0].baselines = whole.custom_hooks[0].baselines
    feature = cfg.custom_hooks[0].baselines.camkd_feature
    feature.distiller = {name: whole.feature_distiller for name in TEACHERS}
    cfg.benchmark = dict(whole.benchmark, seeds=list(seeds))
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    return cfg


@pytest.fixture(scope='module')
def done(tmp_path_factory):
    work = tmp_path_factory.mktemp('benchmark') / 'work'
    with quick():
        table = run_study(config(work))
    return work, table


def test_one_table_of_every_method(done):
    work, table = done
    rows = read(work, 'comparison.json')['methods']
    singles = [f'only_{name}' for name in TEACHERS]
    assert {row['method'] for row in rows} == {'DynaKD (Cat*)', *RIVALS, *LATER, *singles}
    assert all(row['seeds'] == 2 and len(row['interval']) == 2 for row in rows)
    text = Path(table).read_text(encoding='utf-8')
    assert table == str(work / 'comparison.md')
    assert text.splitlines()[2].startswith('| DynaKD (Cat*) | ')
    assert 'seeds 0, 1' in text
    assert '(1 epochs)' in text


def test_numbers_are_those_of_the_runs(done):
    work, _ = done
    rows = {row['method']: row for row in read(work, 'comparison.json')['methods']}
    for index, seed in enumerate((0, 1)):
        for folder, lanes in ((f'seed{seed}', RIVALS), (f'seed{seed}/later', LATER)):
            own = {row['name']: row for row in read(work / folder, 'results.json')['lanes']}
            for lane in lanes:
                assert rows[lane]['test'][index] == own[lane]['test']['accuracy/top1']
        results = read(work / f'seed{seed}', 'results.json')
        chosen = {row['name']: row for row in results['lanes']}[results['selected']]
        assert rows['DynaKD (Cat*)']['test'][index] == chosen['test']['accuracy/top1']


def test_assistants_are_taught_by_those_before(done):
    work, _ = done
    for kind, above in (
        ('takd', {'takd_weak': ['takd_middle']}),
        ('dgkd', {'dgkd_weak': ['strong', 'dgkd_middle']}),
    ):
        for assistant in (f'{kind}_middle', f'{kind}_weak'):
            results = read(work / 'assistants' / assistant, 'results.json')
            theta = results['lanes'][0]['theta']
            employed = (
                [t for t, p in theta.items() if p] if theta else results['lanes'][0]['teachers']
            )
            assert employed == above.get(assistant, ['strong'])
            assert (work / 'assistants' / assistant / 'student.pth').is_file()
    rows = {row['name']: row for row in read(work / 'seed0' / 'later', 'results.json')['lanes']}
    assert [t for t, p in rows['takd']['theta'].items() if p] == ['takd_weak']
    assert rows['dgkd']['teachers'] == ['strong', 'dgkd_middle', 'dgkd_weak']


def test_ranks_are_those_of_the_first_run(done):
    work, _ = done
    first = {row['name']: row for row in read(work / 'seed0', 'results.json')['lanes']}
    later = {row['name']: row for row in read(work / 'seed0' / 'later', 'results.json')['lanes']}
    val = {name: first[f'only_{name}']['val']['accuracy/top1'] for name in TEACHERS}
    theta = later['skdbert_student']['theta']
    for a in TEACHERS:
        for b in TEACHERS:
            assert (val[a] > val[b]) == (theta[a] > theta[b])
    assert sum(theta.values()) == pytest.approx(1)
    scores = {row['name']: row['val'] for row in read(work, 'teachers.json')['teachers']}
    theta = later['skdbert_teacher']['theta']
    assert list(scores) == list(TEACHERS)
    assert all(0 <= score <= 100 for score in scores.values())
    for a in TEACHERS:
        for b in TEACHERS:
            assert (scores[a] > scores[b]) == (theta[a] > theta[b])


def test_a_method_of_the_later_run_is_that_of_the_first(done, tmp_path):
    """Both runs have the same batches, augmentations, draws and start, whatever their teachers."""
    work, _ = done
    cfg = config(work)
    lanes = dict(
        subset=dict(cfg.custom_hooks[0].baselines.subset, teachers=list(cfg.model.teachers))
    )
    study = _Study(cfg, search_hook(cfg), cfg.benchmark)
    chain = study._assistants('takd', 0)
    with quick():
        study._evaluate(
            study._derived(str(tmp_path / 'again'), 0), lanes, {**cfg.model.teachers, **chain}, 0
        )
    again = read(tmp_path / 'again', 'results.json')['lanes'][0]
    first = {row['name']: row for row in read(work / 'seed0', 'results.json')['lanes']}['subset']
    assert (again['val'], again['test']) == (first['val'], first['test'])
    states = [
        torch.load(folder / 'epoch_1.pth', weights_only=False)['state_dict']
        for folder in (tmp_path / 'again', work / 'seed0' / 'evaluation')
    ]
    keys = [key for key in states[0] if key.startswith('lanes.subset.student.')]
    assert keys
    assert all(torch.equal(states[0][key], states[1][key]) for key in keys)


def test_what_is_finished_is_not_run_again(done):
    work, table = done
    before = Path(table).read_text(encoding='utf-8')
    with mock.patch.object(Runner, 'train', side_effect=AssertionError('ran again')):
        assert run_study(config(work)) == table
    assert Path(table).read_text(encoding='utf-8') == before


def test_another_config_in_the_folder_is_an_error(done):
    cfg = config(done[0])
    cfg.optim_wrapper.student.optimizer.lr = 0.5
    with pytest.raises(
        ValueError, match=r'run with other settings:\n.*lr: 0\.05, now 0\.5(.|\n)*another --work'
    ):
        run_study(cfg)


def test_the_cifar_config_takes_a_step_with_every_lane():
    """As configs/benchmarks/r56_ensemble_all_methods.py is, but for the teachers' checkpoints."""
    cfg = Config.fromfile(CHECKOUT / 'configs' / 'benchmarks' / 'r56_ensemble_all_methods.py')
    model = cfg.model.to_dict()
    for entry in model['teachers'].values():
        entry['checkpoint'] = None
    singles = {f'only_{name}': dict(selection=dict(probs=name)) for name in model['teachers']}
    lanes = {**cfg.custom_hooks[0].baselines.to_dict(), **singles}
    assert set(lanes) == {*RIVALS, *singles}
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        built = MODELS.build(
            dict(
                model,
                lanes=lanes,
                draw_seed=0,
                data_preprocessor=dict(
                    cfg.data_preprocessor, type='mmpretrain.ClsDataPreprocessor'
                ),
            )
        )
    log = built.train().train_step(made_batch(4, 100, 32), bilevel(built))
    assert all(torch.isfinite(log[f'{lane}/loss']) for lane in lanes)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda cfg: cfg.pop('benchmark'), r'benchmark must be a dict with seeds='),
        (lambda cfg: cfg.benchmark.update(seeds=[]), r'benchmark must be a dict with seeds='),
        (lambda cfg: cfg.benchmark.update(sedes=[1]), r'no key but'),
        (lambda cfg: cfg.update(launcher='pytorch'), 'leave --launcher out'),
        (lambda cfg: cfg.custom_hooks.pop(0), 'needs a mmdynakd.CandidateEvaluationHook'),
    ],
)
def test_errors(tmp_path, change, message):
    cfg = config(tmp_path / 'work')
    change(cfg)
    with pytest.raises(ValueError, match=message):
        run_study(cfg)
    assert not (tmp_path / 'work').exists()


def test_seeds_that_the_table_would_not_have_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r'the seeds \[7\] are not in the config'):
        run_study(config(tmp_path / 'work'), [0, 7])
    assert not (tmp_path / 'work').exists()
