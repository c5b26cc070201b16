"""Both stages with a store: a second run that sees the same views runs no teacher."""

import pytest
from runs import read, run, same, search_config, weights

from mmdynakd.models.teachers import TeacherEnsemble


@pytest.fixture
def passes(monkeypatch):
    seen, compute = [], TeacherEnsemble._compute

    def counted(self, name, inputs):
        seen.append(len(inputs))
        return compute(self, name, inputs)

    monkeypatch.setattr(TeacherEnsemble, '_compute', counted)
    return seen


def search(work, store, arrays=True, **options):
    cfg = search_config(work, **{'optim_wrapper.upper_interval': 2, **options})
    if store is not None:
        cfg.model.store = dict(path=str(store), dtype='float32')
    inner = cfg.train_dataloader.dataset
    if arrays:
        cfg.train_dataloader.dataset = dict(
            type='mmdynakd.ArrayDataset', dataset={**inner, 'pipeline': []}, crop_padding=1
        )
        cfg.train_dataloader.collate_fn = dict(type='mmdynakd.batch_collate')
    else:
        cfg.train_dataloader.dataset = dict(type='mmdynakd.Views', dataset=inner)
    cfg.train_dataloader.sampler.type = 'mmdynakd.ViewSampler'
    cfg.custom_hooks[0].baselines = dict(ce=dict(selection=None))
    return cfg


def outcome(work):
    results = read(work, 'results.json')
    return [{key: lane[key] for key in lane if key != 'seconds'} for lane in results['lanes']]


@pytest.mark.slow
@pytest.mark.parametrize('arrays', [True, False], ids=['arrays', 'pipeline'])
def test_a_second_run_of_both_stages_runs_no_teacher_and_ends_alike(tmp_path, passes, arrays):
    works = [tmp_path / name / 'run' for name in ('plain', 'first', 'second')]
    for work in works:
        work.parent.mkdir()
    counts = []
    for work, store in zip(works, (None, tmp_path / 'store', tmp_path / 'store')):
        run(search(work, store, arrays))
        counts.append(sum(passes))
        passes.clear()
    assert counts[0] > counts[1] > 0
    assert counts[2] == 0
    students = [weights(work / 'student.pth') for work in works]
    thetas = [read(work, 'candidates.json') for work in works]
    assert same(students[1], students[2])
    assert thetas[1] == thetas[2]
    assert outcome(works[1]) == outcome(works[2])
    assert same(students[0], students[1])
    assert thetas[0] == thetas[1]
    assert outcome(works[0]) == outcome(works[1])


def test_another_seed_sees_the_same_views(tmp_path, passes):
    for seed in (0, 1):
        work = tmp_path / f'seed{seed}' / 'run'
        work.parent.mkdir()
        cfg = search(work, tmp_path / 'store', **{'randomness.seed': seed})
        cfg.custom_hooks[0].update(single_teachers=True)
        run(cfg)
        if seed == 0:
            passes.clear()
    # The single teachers' lanes saw every view of every teacher in the first run.
    assert sum(passes) == 0
