"""Workers of data loaders: what they serve depends neither on their start nor on who died."""

import os
import random
import signal

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.registry import TRANSFORMS
from resumed import by_epoch, cut_off
from runs import read, run, same, weights
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from mmdynakd.diagnostics import determinism
from mmdynakd.engine.loops.batches import Round


@pytest.fixture(autouse=True)
def impatient(monkeypatch) -> None:
    """A loader looks ten times a second whether a worker is dead, not every five seconds."""
    look = _MultiProcessingDataLoaderIter._try_get_data
    assert look.__defaults__ == (5.0,)
    monkeypatch.setattr(look, '__defaults__', (0.1,))


class Noise(Dataset):
    """Draws from every generator an augmentation may use; a worker dies at ``fatal``, once."""

    def __init__(self, fatal: int | None = None, mark: str = '', times: int = 1) -> None:
        self.fatal, self.mark, self.times = fatal, mark, times

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> list:
        if index == self.fatal and len(os.listdir(self.mark)) < self.times:
            open(os.path.join(self.mark, str(os.getpid())), 'w').close()
            os.kill(os.getpid(), signal.SIGKILL)
        return [index, torch.rand(1).item(), np.random.rand(), random.random()]  # noqa: NPY002


def loader(data: Dataset, persistent: bool = False) -> DataLoader:
    return DataLoader(
        data,
        2,
        sampler=DefaultSampler(data, shuffle=True, seed=3),
        collate_fn=list,
        num_workers=2,
        persistent_workers=persistent,
    )


@pytest.mark.parametrize('persistent', [False, True])
def test_a_round_is_a_function_of_its_number(persistent):
    one, other = loader(Noise(), persistent), loader(Noise(), persistent)
    rounds = [list(Round(one, 5, number)) for number in (0, 1)]
    assert rounds[0] != rounds[1]
    assert [len(r) for r in rounds] == [10, 10]
    torch.manual_seed(99)
    assert list(Round(other, 5, 1)) == rounds[1]  # without the round before
    assert list(Round(other, 5, 1, start=7)) == rounds[1][7:]
    assert list(Round(other, 6, 1)) != rounds[1]


@pytest.mark.parametrize('fatal', [0, 7, 19])
def test_a_dead_worker_changes_nothing(tmp_path, fatal):
    expected = list(Round(loader(Noise()), 5, 0))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    torch.empty((), dtype=torch.int64).random_()  # what opening a loader draws
    after = torch.get_rng_state()
    torch.set_rng_state(before)
    assert list(Round(loader(Noise(fatal, str(tmp_path))), 5, 0)) == expected
    assert len(list(tmp_path.iterdir())) == 1  # one did die
    assert torch.equal(torch.get_rng_state(), after)  # the training draws what it would have drawn


def test_workers_that_die_again_and_again_are_an_error(tmp_path):
    with pytest.raises(RuntimeError, match=r'died 3 times at batch \d+ of round 0: .* num_workers'):
        list(Round(loader(Noise(7, str(tmp_path), times=99)), 5, 0))


class Broken(Noise):
    def __getitem__(self, index: int) -> list:
        raise KeyError('of the data set itself')


def test_an_error_of_the_data_set_is_its_own():
    with pytest.raises(KeyError, match='of the data set itself'):
        list(Round(loader(Broken()), 5, 0))


@TRANSFORMS.register_module()
class Dies:
    """Kills the worker that loads the ``nth`` image of the run, once; ``mark`` is a folder."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __call__(self, results: dict) -> dict:
        if self.mark and results['sample_idx'] == 40 and not os.listdir(self.mark):
            open(os.path.join(self.mark, 'died'), 'w').close()
            os.kill(os.getpid(), signal.SIGKILL)
        return results


def with_workers(work, mark: str = '', **options):
    cfg = by_epoch(work, **options)
    cfg.train_dataloader.update(num_workers=2, persistent_workers=True)
    cfg.train_dataloader.dataset.pipeline.insert(0, dict(type='Dies', mark=mark))
    return cfg


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    work = tmp_path_factory.mktemp('workers') / 'whole'
    run(with_workers(work))
    return work


@pytest.mark.slow
def test_a_search_outlives_a_dead_worker(whole, tmp_path):
    (tmp_path / 'mark').mkdir()
    run(with_workers(tmp_path / 'work', str(tmp_path / 'mark')))
    assert (tmp_path / 'mark' / 'died').exists()
    assert same(weights(whole / 'epoch_4.pth'), weights(tmp_path / 'work' / 'epoch_4.pth'))
    assert read(whole, 'results.json')['lanes'] == read(tmp_path / 'work', 'results.json')['lanes']


@pytest.mark.slow
def test_persistent_workers_do_not_make_a_resumed_run_another(whole, tmp_path):
    cut_off(with_workers(tmp_path / 'work'), 12, 'work')
    run(with_workers(tmp_path / 'work', resume=True))
    equal = determinism.differences(str(whole), str(tmp_path / 'work'))
    equal.pop('results.json')  # its hash of the config knows where the teachers lie
    assert all(equal.values()), equal
