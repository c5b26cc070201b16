"""What teachers say of the validation split is computed once, and changes nothing."""

import pytest
import torch
from runs import PowerCutError, quick, run, same, search_config

from mmdynakd.engine.loops import upper
from mmdynakd.models.algorithms import DynaKD
from mmdynakd.models.teachers import TeacherEnsemble

VAL, TEACHERS, UPPER_STEPS = 40, 3, 10
CROP = [dict(type='RandomCrop', crop_size=8, padding=1), dict(type='PackInputs')]


def search(work, **options):
    cfg = search_config(work, **{'optim_wrapper.upper_interval': 1, **options})
    cfg.custom_hooks = []
    return cfg


@pytest.fixture
def passes(monkeypatch):
    """Images of the validation split that teachers ran on, in upper steps and for their records."""
    seen, compute, ran = [], TeacherEnsemble._compute, TeacherEnsemble.run
    begun = []

    def counted(self, name, inputs):
        if self.upper:
            seen.append((name, len(inputs)))
        return compute(self, name, inputs)

    def watched(self, names, inputs, rows=None, views=None):
        self.upper = bool(begun)
        begun.clear()
        return ran(self, names, inputs, rows, views)

    def beginning(method):
        def begin(self, *args):
            begun.append(method)
            return method(self, *args)

        return begin

    monkeypatch.setattr(TeacherEnsemble, '_compute', counted)
    monkeypatch.setattr(TeacherEnsemble, 'run', watched)
    for method in (DynaKD.upper_losses, DynaKD.read_split):
        monkeypatch.setattr(DynaKD, method.__name__, beginning(method))
    return seen


def trained(cfg):
    runner = run(cfg)
    return runner.model.state_dict(), runner


@pytest.mark.parametrize('objective', ['first_order', 'unrolled'])
def test_each_validation_image_is_seen_once_and_the_search_is_the_same(tmp_path, passes, objective):
    options = {'model.upper_objective': objective}
    kept, _ = trained(search(tmp_path / 'a', **options))
    assert sum(count for _, count in passes) == VAL * TEACHERS
    passes.clear()
    plain, _ = trained(search(tmp_path / 'b', **options, **{'train_cfg.upper_cache_mb': 0}))
    batches = [16, 16, 8]
    assert sum(count for _, count in passes) == TEACHERS * sum(
        batches[i % 3] for i in range(UPPER_STEPS)
    )
    assert kept.keys() == plain.keys()
    moved = kept['lanes.search.selection.alpha']
    assert moved.abs().min() > 0.01
    for key, value in plain.items():
        torch.testing.assert_close(kept[key], value, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'train_cfg.upper_dataloader.dataset.pipeline': CROP}, None),
        ({'optim_wrapper.upper_interval': 5}, None),  # two upper steps, three batches
        ({'train_cfg.upper_cache_mb': 0}, None),
    ],
    ids=['random', 'short', 'off'],
)
def test_nothing_is_kept_of_a_random_pipeline_a_short_search_or_when_switched_off(
    tmp_path, passes, options, message
):
    _, runner = trained(search(tmp_path, **options))
    assert not runner.model.ensemble.kept
    steps = 2 if 'optim_wrapper.upper_interval' in options else UPPER_STEPS
    assert len(passes) == TEACHERS * steps


def test_beyond_the_limit_teachers_run_and_the_log_says_so(tmp_path, passes, monkeypatch):
    said = []
    monkeypatch.setattr(upper, 'print_log', lambda text, *_: said.append(text))
    cfg = search(tmp_path)
    monkeypatch.setattr(upper.RecordStore, '__init__', limited(upper.RecordStore.__init__, 100))
    _, runner = trained(cfg)
    assert not runner.model.ensemble.kept
    assert len(passes) == TEACHERS * (1 + UPPER_STEPS)
    assert 'train_cfg.upper_cache_mb=1024' in said[0]


def limited(init, most):
    def limited_init(self, *args, limit=None, **kwargs):
        init(self, *args, limit=most, **kwargs)

    return limited_init


def test_a_search_cut_off_and_resumed_is_the_same_to_the_bit(tmp_path):
    whole, _ = trained(search(tmp_path / 'a'))
    cfg = search(tmp_path / 'b')
    cfg.custom_hooks = [dict(type='CutOff', at=7, stage='b')]
    with pytest.raises(PowerCutError):
        run(cfg)
    cfg.custom_hooks, cfg.resume = [], True
    again, _ = trained(cfg)
    assert same(whole, again)


def test_a_negative_limit_is_an_error(tmp_path):
    with pytest.raises(ValueError, match='upper_cache_mb must be >= 0'), quick():
        run(search(tmp_path, **{'train_cfg.upper_cache_mb': -1}))
