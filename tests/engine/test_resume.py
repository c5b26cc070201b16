"""A run that was cut off and goes on ends where the uninterrupted one ends, bit for bit."""

import functools
import re
from unittest import mock

import pytest
import torch
from resumed import by_epoch, cut_off
from runs import CutOff, read, run, same, weights

FILES = ('candidates.json', 'theta.csv')


@pytest.fixture(autouse=True)
def weights_only(monkeypatch):
    """Every load is weights-only from torch 2.4 on, whatever MMEngine asks for (see compat)."""
    if tuple(map(int, re.findall(r'\d+', torch.__version__)[:2])) >= (2, 4):
        load = torch.load
        monkeypatch.setattr(
            torch, 'load', lambda *a, **kwargs: load(*a, **{**kwargs, 'weights_only': True})
        )


def by_iteration(work, **options):
    """14 iterations, a checkpoint every third: no round of 5 and no upper round of 6 ends there."""
    cfg = by_epoch(work)
    upper = cfg.train_cfg.upper_dataloader
    cfg.pop('train_cfg')
    cfg.train_cfg = dict(
        type='mmdynakd.BilevelIterTrainLoop', max_iters=14, val_interval=7, upper_dataloader=upper
    )
    cfg.optim_wrapper.update(upper_interval=2, warmup=1)
    cfg.param_scheduler.student = dict(type='CosineAnnealingLR', T_max=14, by_epoch=False)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=3)
    cfg.custom_hooks[0].pop('evaluation')
    cfg.merge_from_dict(options)
    return cfg


@functools.lru_cache
def whole(make, folder):
    run(make(folder / 'whole'))
    return folder / 'whole'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    yield tmp_path_factory.mktemp('resume')
    whole.cache_clear()


def last(work, pattern: str) -> dict:
    newest = max(work.glob(pattern), key=lambda path: int(re.findall(r'\d+', path.stem)[0]))
    return weights(newest)


def assert_equal_runs(first, second, pattern: str) -> None:
    for name in FILES:
        assert (first / name).read_text() == (second / name).read_text()
    for stage in ('.', 'evaluation'):
        assert same(last(first / stage, pattern), last(second / stage, pattern))
    assert same(weights(first / 'student.pth'), weights(second / 'student.pth'))
    for key in ('lanes', 'selected', 'iterations'):
        assert read(first, 'results.json')[key] == read(second, 'results.json')[key]


# epoch 2 was saved, epoch 3 was cut off in its midst; iteration 6 was saved, 7 done
@pytest.mark.parametrize(
    ('make', 'at', 'saved', 'pattern'),
    [(by_epoch, 12, 'epoch_2.pth', 'epoch_*.pth'), (by_iteration, 7, 'iter_6.pth', 'iter_*.pth')],
)
def test_an_interrupted_search_ends_as_the_whole_one(folder, tmp_path, make, at, saved, pattern):
    expected = whole(make, folder / make.__name__)
    thetas = [list(c['theta'].values()) for c in read(expected, 'candidates.json')['candidates']]
    assert max(map(max, thetas)) > 0.4  # θ did learn
    cut_off(make(tmp_path / 'work'), at, 'work')
    assert (tmp_path / 'work' / 'last_checkpoint').read_text().endswith(saved)
    assert not (tmp_path / 'work' / 'candidates.json').exists()
    resumed = run(make(tmp_path / 'work', resume=True))
    assert resumed.iter == resumed.max_iters
    assert_equal_runs(expected, tmp_path / 'work', pattern)


@pytest.mark.parametrize(
    ('make', 'at', 'saved', 'pattern'),
    [(by_epoch, 7, 'epoch_1.pth', 'epoch_*.pth'), (by_iteration, 8, 'iter_6.pth', 'iter_*.pth')],
)
def test_an_interrupted_evaluation_goes_on(folder, tmp_path, make, at, saved, pattern):
    expected = whole(make, folder / make.__name__)
    cut_off(make(tmp_path / 'work'), at, 'evaluation')
    assert (tmp_path / 'work' / 'evaluation' / 'last_checkpoint').read_text().endswith(saved)
    assert not (tmp_path / 'work' / 'results.json').exists()
    cfg = make(tmp_path / 'work', resume=True)
    cfg.custom_hooks.append(dict(type='CutOff'))
    with mock.patch.object(CutOff, 'planned', (0, 'evaluation')):  # would stop a new start
        run(cfg)
    assert_equal_runs(expected, tmp_path / 'work', pattern)
