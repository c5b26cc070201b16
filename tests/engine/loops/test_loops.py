"""The loops: which batches are served when, and what validation measures."""

import itertools
import random
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmengine.runner import Runner
from runs import network, quick, search_config
from torch.utils.data import DataLoader

from mmdynakd.datasets import Digits
from mmdynakd.engine.loops.batches import CyclingBatches
from mmdynakd.models import DynaKD


class Notes(Hook):
    """The images (and θ) of every lower step, in order; ``spy`` adds those of the upper steps."""

    def __init__(self) -> None:
        self.events: list[SimpleNamespace] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.note('lower', data_batch, runner.model)

    def note(self, kind: str, batch: dict, model) -> None:
        ids = [sample.sample_idx for sample in batch['data_samples']]
        self.events.append(
            SimpleNamespace(kind=kind, ids=ids, theta=model.lanes['search'].selection.probs())
        )

    def ids(self, kind: str) -> list[list[int]]:
        return [event.ids for event in self.events if event.kind == kind]


def search_only(work, train: int = 72, upper: int = 40, **options):
    """Config of a search without evaluation, in batches of 16, whose samples tell their number."""
    cfg = search_config(work, **options)
    cfg.custom_hooks = []
    cfg.train_dataloader.dataset.indices = train
    loaders = [cfg.train_dataloader]
    if cfg.train_cfg.get('upper_dataloader'):
        cfg.train_cfg.upper_dataloader.dataset.indices = upper
        loaders.append(cfg.train_cfg.upper_dataloader)
    for loader in loaders:
        loader.dataset.pipeline[-1].meta_keys = ('sample_idx',)
    return cfg


def built(cfg) -> Runner:
    with quick():
        return Runner.from_cfg(cfg)


def served(cfg, monkeypatch) -> Notes:
    notes, upper_step = Notes(), DynaKD.upper_step

    def spy(self, data, optim_wrapper, train_data=None):
        notes.note('upper', data, self)
        return upper_step(self, data, optim_wrapper, train_data)

    monkeypatch.setattr(DynaKD, 'upper_step', spy)
    runner = built(cfg)
    runner.register_hook(notes)
    with quick():
        runner.train()
    return notes


def rounds(batches: list[list[int]], length: int) -> list[list[int]]:
    """The image numbers of every whole round of ``length`` batches."""
    whole = [batches[i : i + length] for i in range(0, len(batches) - length + 1, length)]
    return [list(itertools.chain(*part)) for part in whole]


def by_iteration(cfg, iterations: int):
    upper = cfg.train_cfg.upper_dataloader
    cfg.pop('train_cfg')
    cfg.train_cfg = dict(
        type='mmdynakd.BilevelIterTrainLoop',
        max_iters=iterations,
        val_interval=iterations,
        upper_dataloader=upper,
    )
    cfg.param_scheduler.student = dict(type='CosineAnnealingLR', T_max=iterations, by_epoch=False)
    cfg.default_hooks.checkpoint.by_epoch = False
    return cfg


@pytest.mark.parametrize('loop', ['epochs', 'iterations'])
@pytest.mark.parametrize(
    ('train', 'upper', 'epochs', 'lower_length', 'upper_length'),
    [(72, 40, 2, 5, 3), (20, 56, 4, 2, 4)],
)
def test_train_defines_the_epoch_and_the_other_cycles(
    tmp_path, monkeypatch, loop, train, upper, epochs, lower_length, upper_length
):
    cfg = search_only(tmp_path / 'work', train, upper, **{'train_cfg.max_epochs': epochs})
    steps = epochs * lower_length
    notes = served(by_iteration(cfg, steps) if loop == 'iterations' else cfg, monkeypatch)
    assert [event.kind for event in notes.events] == ['upper', 'lower'] * steps
    for kind, count, length in (('lower', train, lower_length), ('upper', upper, upper_length)):
        found = rounds(notes.ids(kind), length)
        assert len(found) == steps // length >= 2
        assert all(sorted(ids) == list(range(count)) for ids in found)  # every image once a round
        assert all(before != after for before, after in itertools.pairwise(found))  # reshuffled


@pytest.mark.parametrize(
    ('interval', 'warmup', 'upper_at'), [(1, 7, [7, 8, 9]), (3, 2, [2, 5, 8]), (4, 0, [0, 4, 8])]
)
def test_upper_steps_come_when_they_are_due(tmp_path, monkeypatch, interval, warmup, upper_at):
    notes = served(
        search_only(
            tmp_path / 'work',
            **{'optim_wrapper.upper_interval': interval, 'optim_wrapper.warmup': warmup},
        ),
        monkeypatch,
    )
    kinds, found = [event.kind for event in notes.events], []
    for index, kind in enumerate(kinds):
        if kind == 'upper':
            found.append(kinds[:index].count('lower'))
    assert found == upper_at
    thetas = [event.theta for event in notes.events if event.kind == 'lower']
    assert all(theta == [1 / 3] * 3 for theta in thetas[:warmup])
    changes = [step for step in range(1, len(thetas)) if thetas[step] != thetas[step - 1]]
    assert changes == [step for step in upper_at if step > 0]


@pytest.mark.parametrize('loop', ['epochs', 'iterations'])
@pytest.mark.parametrize(
    ('break_', 'message'),
    [
        (lambda cfg: cfg.train_cfg.update(upper_dataloader=None), 'set train_cfg.upper_dataloader'),
        (
            lambda cfg: cfg.train_cfg.upper_dataloader.update(drop_last=True, batch_size=64),
            'the validation split is empty .*: check train_cfg.upper_dataloader.dataset',
        ),
        (
            lambda cfg: cfg.train_cfg.upper_dataloader.dataset.update(indices=[]),
            'the validation split is empty .*: check train_cfg.upper_dataloader.dataset',
        ),
    ],
)
def test_a_search_without_validation_images_is_an_error(tmp_path, loop, break_, message):
    cfg = search_only(tmp_path / 'work')
    if loop == 'iterations':
        cfg = by_iteration(cfg, 4)
    break_(cfg)
    runner = built(cfg)
    with pytest.raises(ValueError, match=message):
        runner.train()


def loader(count: int = 10, batch_size: int = 4) -> DataLoader:
    data = list(range(count))
    return DataLoader(
        data, batch_size, sampler=DefaultSampler(data, shuffle=True, seed=3), collate_fn=list
    )


def states() -> tuple:
    numpys = np.random.get_state()  # noqa: NPY002  the global one is what must stay
    return torch.get_rng_state().tolist(), repr(numpys), random.getstate()


def take(batches: Iterator, count: int) -> list:
    return [next(batches) for _ in range(count)]


def test_cycling_leaves_the_global_generators_alone():
    batches, before = CyclingBatches(loader()), states()
    take(batches, 8)
    assert states() == before
    torch.rand(1)
    assert states() != before  # what a draw would have done


@pytest.mark.parametrize('start', range(8))
def test_cycling_from_any_position_serves_what_would_have_come(start):
    whole = take(CyclingBatches(loader()), 9)
    assert take(CyclingBatches(loader(), start), 9 - start) == whole[start:]
    assert sorted(itertools.chain(*whole[3:6])) == list(range(10))
    assert whole[:3] != whole[3:6]


def test_a_seed_ties_the_generators_to_the_position():
    def noise(batches):
        next(batches)
        return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002  as augmentation does

    torch.manual_seed(1)
    batches = CyclingBatches(loader(), seed=5, per_batch=True)
    first = [noise(batches) for _ in range(5)]
    torch.manual_seed(2)
    assert noise(CyclingBatches(loader(), start=4, seed=5, per_batch=True)) == first[4]
    assert len(set(first)) == 5
    assert noise(CyclingBatches(loader(), start=4, seed=6, per_batch=True)) != first[4]


def test_lane_metrics_are_those_of_each_student_alone(tmp_path):
    cfg = search_only(tmp_path / 'work')
    cfg.model.lanes = dict(a=dict(selection=dict(probs='uniform')), b=dict(selection=None), c={})
    cfg.val_evaluator = dict(type='Accuracy', topk=(1, 3))
    runner = built(cfg)
    for seed, lane in enumerate(runner.model.lanes.values(), 20):
        lane.student.load_state_dict(network(seed=seed).state_dict(), strict=True)
    runner.model.train()
    metrics = runner.val()
    images = list(Digits(split='val', channels=3, indices=40, pipeline=[], serialize_data=False))
    expected = {}
    for name, lane in runner.model.lanes.items():
        ranks = [rank(lane.student.eval(), **image) for image in images]
        expected[f'{name}/accuracy/top1'] = 100 * sum(r < 1 for r in ranks) / 40
        expected[f'{name}/accuracy/top3'] = 100 * sum(r < 3 for r in ranks) / 40
    assert metrics == pytest.approx(expected, abs=1e-4)
    own = {tuple(metrics[f'{name}/accuracy/top{k}'] for k in (1, 3)) for name in runner.model.lanes}
    assert len(own) == 3  # each lane has its own evaluator


def rank(student, img, gt_label, **_) -> int:
    """How many classes score above the true one, for one image through the student."""
    inputs = torch.from_numpy(img.transpose(2, 0, 1).copy())[None]
    inputs = student.data_preprocessor(dict(inputs=inputs), training=False)['inputs']
    with torch.no_grad():
        scores = student.head(student.extract_feat(inputs))[0]
    return int((scores > scores[gt_label]).sum())
