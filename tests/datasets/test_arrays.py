"""ArrayDataset: what it serves, that a view is a function of (seed, view) alone, and runs on it."""

import pickle
import runpy
import sys
from typing import ClassVar
from unittest import mock

import numpy as np
import pytest
import torch
from global_generators import drawn_now, reseed
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from runs import CHECKOUT, CutOff, PowerCutError, network_config, run, search_config

from mmdynakd.datasets import ArrayDataset, View, batch_collate, is_deterministic
from mmdynakd.functional import crop_flip
from mmdynakd.registry import DATASETS

CHI2_999 = {1: 10.828, 8: 26.124}
DIGITS = dict(type='mmdynakd.Digits', split='val', channels=3, serialize_data=False)
ARRAYS = dict(type='mmdynakd.ArrayDataset', dataset=DIGITS, crop_padding=1, flip=0.5)


def arrays(**options):
    return DATASETS.build({**ARRAYS, **options})


@pytest.fixture(scope='module')
def augmented():
    return arrays()


def loader(batch_size, workers=0, shuffle=True, sampler='mmdynakd.ViewSampler', **options):
    return Runner.build_dataloader(
        dict(
            batch_size=batch_size,
            num_workers=workers,
            dataset={**ARRAYS, **options},
            sampler=dict(type=sampler, shuffle=shuffle),
            collate_fn=dict(type='mmdynakd.batch_collate'),
        ),
        seed=11,
    )


def pixels(batch):
    return crop_flip(batch['inputs'], batch['crop'], batch['flip'], batch['padding'])


def served(loader, epoch):
    """``{view: pixels}`` of an epoch, in order."""
    loader.sampler.set_epoch(epoch)
    return {
        view: image
        for batch in loader
        for view, image in zip(batch['views']['ids'].tolist(), pixels(batch))
    }


# --- what is served -------------------------------------------------------------------------------


def test_a_batch_holds_the_data_sets_pixels_and_labels():
    inner, data = DATASETS.build(DIGITS), arrays(crop_padding=None, flip=0)
    batch = data.__getitems__([5, 0, 356])
    infos = [inner.get_data_info(index) for index in (5, 0, 356)]
    assert set(batch) == {'inputs', 'labels', 'views'}
    assert batch['inputs'].dtype == torch.uint8
    assert batch['labels'].dtype == torch.int64
    assert torch.equal(
        batch['inputs'], torch.stack([torch.from_numpy(i['img']).permute(2, 0, 1) for i in infos])
    )
    assert batch['labels'].tolist() == [info['gt_label'] for info in infos]
    assert batch['views']['ids'].tolist() == [5, 0, 356]
    assert (batch['views']['source'], batch['views']['size']) == (data.fingerprint, 357)
    assert len(data) == 357
    assert data.metainfo == inner.metainfo
    assert data.get_gt_labels().tolist() == list(inner.get_gt_labels())


def test_what_augmentation_adds(augmented):
    batch = augmented.__getitems__([View(2, 5), View(2, 0)])
    assert batch['views']['ids'].tolist() == [2 * 357 + 5, 2 * 357]
    assert batch['crop'].shape == (2, 2)
    assert batch['crop'].dtype == torch.int64
    assert batch['flip'].shape == (2,)
    assert batch['flip'].dtype == torch.bool
    assert batch['padding'] == 1
    assert torch.equal(
        batch['inputs'], augmented.images[[5, 0]]
    )  # raw: cropped on the training device


@pytest.mark.parametrize(
    'options', [{}, dict(crop_padding=None), dict(flip=0), dict(crop_padding=None, flip=0)]
)
def test_one_sample_is_its_row_of_a_batch(options):
    data = arrays(**options)
    batch = data.__getitems__([View(4, index) for index in range(20)])
    images = pixels(batch) if 'crop' in batch else batch['inputs']
    for index in range(20):
        item = data[View(4, index)]
        assert torch.equal(item['inputs'], images[index])
        sample = item['data_samples']
        assert sample.gt_label.tolist() == [batch['labels'][index]]
        assert (sample.view, sample.view_source, sample.view_size) == (
            batch['views']['ids'][index],
            data.fingerprint,
            357,
        )
    assert torch.equal(images, data.images[:20]) == (not data.random)


def test_crops_and_flips_are_uniform(augmented):
    batches = [augmented.__getitems__([View(epoch, i) for i in range(357)]) for epoch in range(20)]
    crop, flip = (torch.cat([batch[key] for batch in batches]) for key in ('crop', 'flip'))
    cells = np.bincount((crop[:, 0] * 3 + crop[:, 1]).numpy(), minlength=9)
    expected = len(crop) / 9
    assert ((cells - expected) ** 2 / expected).sum() < CHI2_999[8]
    assert 4 * (flip.sum().item() - len(flip) / 2) ** 2 / len(flip) < CHI2_999[1]
    often = arrays(flip=0.9).__getitems__([View(0, i) for i in range(357)])['flip']
    assert 300 < often.sum() < 342
    assert arrays(flip=1).__getitems__([View(0, i) for i in range(357)])['flip'].all()
    assert not arrays(flip=0).__getitems__([View(0, i) for i in range(357)])['flip'].any()


# --- purity ---------------------------------------------------------------------------------------


def test_a_view_is_the_same_in_every_order_batch_and_worker():
    reseed(0)
    whole = loader(64)
    first = served(whole, 3)
    assert sorted(first) == list(range(3 * 357, 4 * 357))
    assert list(first) != sorted(first)
    served(whole, 4)
    for other in (whole, loader(50, shuffle=False), loader(64, workers=2)):
        drawn_now()
        again = served(other, 3)
        assert again.keys() == first.keys()
        assert all(torch.equal(again[view], first[view]) for view in first)
    assert list(again) == list(first)


def test_epochs_may_mix_in_a_batch(augmented):
    views = [View(epoch, index) for epoch, index in ((0, 3), (7, 3), (0, 4), (2, 9))]
    batch = augmented.__getitems__(views)
    for row, view in enumerate(views):
        assert torch.equal(pixels(batch)[row], augmented[view]['inputs'])


def test_epoch_seed_and_index_each_change_the_view(augmented):
    def numbers(data, epoch):
        batch = data.__getitems__([View(epoch, index) for index in range(200)])
        return torch.cat([batch['crop'], batch['flip'][:, None]], 1)

    base = numbers(augmented, 0)
    assert len(base.unique(dim=0)) == 18
    for other in (numbers(augmented, 1), numbers(arrays(seed=1), 0)):
        assert (base == other).all(1).float().mean() < 0.15  # 1/18 by chance
    assert torch.equal(base, numbers(arrays(), 0))


def test_nothing_outside_is_disturbed(augmented):
    reseed(5)
    expected = drawn_now()
    reseed(5)
    augmented[View(0, 1)], augmented.__getitems__([View(8, 1), View(8, 2)])
    assert drawn_now() == expected


def test_bare_indices(augmented):
    for ask in (
        lambda: augmented[3],
        lambda: augmented.__getitems__([3, 4]),
        lambda: next(iter(loader(4, sampler='DefaultSampler'))),
    ):
        with pytest.raises(ValueError, match=r'mmdynakd\.ViewSampler'):
            ask()
    plain = arrays(crop_padding=None, flip=0)
    assert plain.__getitems__([View(6, 3), View(6, 1)])['views']['ids'].tolist() == [3, 1]


def test_is_deterministic_and_fingerprint(augmented):
    plain = arrays(crop_padding=None, flip=0)
    assert is_deterministic(plain)
    assert not is_deterministic(augmented)
    others = [
        arrays(crop_padding=2),
        arrays(flip=0.4),
        arrays(seed=1),
        arrays(dataset={**DIGITS, 'split': 'test'}),
        arrays(dataset={**DIGITS, 'indices': [1, 0]}),
        arrays(dataset={**DIGITS, 'indices': [0, 1]}),
    ]
    prints = {data.fingerprint for data in (augmented, plain, *others)}
    assert len(prints) == 8
    assert all(len(text) == 64 for text in prints)
    assert arrays().fingerprint == augmented.fingerprint
    assert (
        arrays(crop_padding=None, flip=0, seed=9).fingerprint == plain.fingerprint
    )  # nothing is drawn


# --- collate and errors ---------------------------------------------------------------------------


def test_batch_collate():
    assert loader(8).collate_fn.func is batch_collate  # found by its name in a config
    batch = dict(inputs=torch.zeros(2))
    assert batch_collate(batch) is batch
    items = [arrays()[View(0, index)] for index in range(3)]
    collated, expected = batch_collate(items), pseudo_collate(items)
    assert collated.keys() == expected.keys()
    assert collated['data_samples'] == expected['data_samples']


def fake(images, labels=None):
    labels = labels or [0] * len(images)
    infos = [dict(img=image, gt_label=label) for image, label in zip(images, labels)]
    data = mock.MagicMock(metainfo={}, **{'__len__.return_value': len(infos)})
    data.get_data_info.side_effect = lambda index: infos[index]
    return data


IMAGE = np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(crop_padding=0), 'crop_padding must be'),
        (dict(crop_padding=1.5), 'crop_padding must be'),
        (dict(flip=1.1), 'flip is a probability'),
        (dict(seed=-1), 'seed must be'),
        (dict(seed=2**64), 'seed must be'),
        (dict(dataset=fake([])), 'empty'),
        (dict(dataset=fake([None])), "'img' of sample 0.*mmdynakd.Views"),
        (dict(dataset=fake([IMAGE, IMAGE[:3]])), 'sample 1 is of shape'),
        (dict(dataset=fake([IMAGE, IMAGE.astype(float)])), "'img' of sample 1"),
        (dict(dataset=fake([IMAGE[..., 0]])), "'img' of sample 0"),
        (dict(dataset=fake([IMAGE], [[1, 2]])), "'gt_label' of sample 0"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        ArrayDataset(**{'dataset': fake([IMAGE]), **options})


# --- runs -----------------------------------------------------------------------------------------


@HOOKS.register_module(force=True)
class Batches(Hook):
    """Keeps what each training iteration saw."""

    seen: ClassVar[list] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append((runner.iter, data_batch['views']['ids'].tolist(), pixels(data_batch)))


def on_arrays(loader, **augmentation):
    dataset = {key: value for key, value in loader.dataset.items() if key != 'pipeline'}
    loader.dataset = dict(type='mmdynakd.ArrayDataset', dataset=dataset, **augmentation)
    loader.collate_fn = dict(type='mmdynakd.batch_collate')


def digits_search(work):
    """A search alone, 2 epochs of 5 iterations, every loader on arrays."""
    cfg = search_config(work)
    on_arrays(cfg.train_dataloader, crop_padding=1, flip=0.5)
    cfg.train_dataloader.sampler.type = 'mmdynakd.ViewSampler'
    for other in (cfg.train_cfg.upper_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        on_arrays(other)
    cfg.custom_hooks = [dict(type='Batches'), dict(type='CutOff')]
    return cfg


def test_a_resumed_run_sees_the_same_batches(tmp_path):
    with mock.patch.object(Batches, 'seen', []) as whole:
        run(digits_search(tmp_path / 'whole'))
    with mock.patch.object(Batches, 'seen', []) as resumed:
        with pytest.raises(PowerCutError), mock.patch.object(CutOff, 'planned', (7, 'cut')):
            run(digits_search(tmp_path / 'cut'))
        cfg = digits_search(tmp_path / 'cut')
        cfg.resume = True
        run(cfg)
    assert [row[0] for row in whole] == list(range(10))
    assert [row[0] for row in resumed] == [*range(8), *range(5, 10)]
    assert len({view for row in whole for view in row[1]}) == 2 * 72
    for iteration, views, images in resumed:
        assert views == whole[iteration][1]
        assert torch.equal(images, whole[iteration][2])


def write_cifar(root):
    """A made CIFAR-100 folder: 3 classes of 60 training images (10 in train), 8 test images."""
    folder = root / 'cifar-100-python'
    folder.mkdir(parents=True)
    rng = np.random.RandomState(0)
    for name, count in (('train', 60), ('test', 8)):
        labels = np.tile(np.arange(3), count).tolist()
        data = rng.randint(0, 256, (len(labels), 3072)).astype(np.uint8)
        (folder / name).write_bytes(pickle.dumps(dict(data=data, fine_labels=labels), protocol=2))


def cifar_config(tmp_path, base):
    """``dynakd_r8_cifar100_cpu.py`` with other data: 1 epoch of search, untrained teachers."""
    text = (CHECKOUT / 'configs' / 'dynakd_r8_cifar100_cpu.py').read_text(encoding='utf-8')
    assert "'_base_/datasets/cifar100.py'" in text
    text = text.replace('datasets/cifar100.py', f'datasets/{base}').replace(
        "'_base_/", f"'{CHECKOUT}/configs/_base_/"
    )
    (tmp_path / 'config.py').write_text(text, encoding='utf-8')
    cfg = Config.fromfile(tmp_path / 'config.py')
    cfg.model.pop('teachers')
    cfg.model.teachers = {name: dict(model=network_config(classes=100)) for name in ('one', 'two')}
    for loader in (
        cfg.train_dataloader,
        cfg.train_cfg.upper_dataloader,
        cfg.val_dataloader,
        cfg.test_dataloader,
    ):
        loader.batch_size = 10
        loader.dataset.get('dataset', loader.dataset).update(
            data_root=str(tmp_path), verify=False, download=False
        )
    cfg.custom_hooks = []
    cfg.merge_from_dict(
        {
            'work_dir': str(tmp_path / 'work'),
            'log_level': 'WARNING',
            'train_cfg.max_epochs': 1,
            'param_scheduler.student.T_max': 1,
            'train_cfg.val_interval': 1,
        }
    )
    return cfg


def test_the_cifar_config_runs_and_evaluates_as_its_twin(tmp_path):
    write_cifar(tmp_path)
    runner = run(cifar_config(tmp_path, 'cifar100_arrays.py'))
    assert isinstance(runner.train_loop.dataloader.dataset, ArrayDataset)
    assert runner.iter == 3
    assert (
        set(runner.val_loop.run())
        == set(runner.test_loop.run())
        == {'search/accuracy/top1', 'search/accuracy/top5'}
    )
    twin = cifar_config(tmp_path, 'cifar100.py')
    assert set(twin) == set(cifar_config(tmp_path, 'cifar100_arrays.py'))
    for name in ('val_dataloader', 'test_dataloader'):
        ours, theirs = (runner.build_dataloader(cfg[name]) for cfg in (runner.cfg, twin))
        pairs = list(
            zip(
                *[
                    [s for batch in loader for s in runner.model.predict_lanes(batch)['search']]
                    for loader in (ours, theirs)
                ],
                strict=True,
            )
        )
        assert len(pairs) == (150 if name == 'val_dataloader' else 24)
        for mine, its in pairs:
            assert torch.equal(mine.pred_score, its.pred_score)
            assert torch.equal(mine.gt_label, its.gt_label)
        assert len({tuple(mine.pred_score.tolist()) for mine, _ in pairs}) == len(pairs)


def test_a_plain_classifier_runs_on_it(tmp_path):
    """A single teacher by MMEngine's own loops."""
    cfg = Config.fromfile(CHECKOUT / 'configs' / 'teachers' / 'resnet8_digits.py')
    cfg.data_preprocessor = dict(cfg.data_preprocessor, type='mmdynakd.BatchPreprocessor')
    if 'data_preprocessor' in cfg.model:
        cfg.model.data_preprocessor = cfg.data_preprocessor
    on_arrays(cfg.train_dataloader, crop_padding=1)
    on_arrays(cfg.val_dataloader)
    cfg.train_dataloader.sampler.type = 'mmdynakd.ViewSampler'
    cfg.merge_from_dict(
        {
            'work_dir': str(tmp_path),
            'log_level': 'WARNING',
            'train_cfg.max_epochs': 1,
            'train_cfg.val_interval': 1,
        }
    )
    runner = run(cfg)
    accuracy = runner.val_loop.run()['accuracy/top1']
    data = runner.val_loop.dataloader.dataset
    with torch.no_grad():
        logits = runner.model(
            **runner.model.data_preprocessor(data.__getitems__(range(len(data)))), mode='tensor'
        )
    right = (logits.argmax(1) == data.labels).float().mean().item()
    assert accuracy == pytest.approx(100 * right, abs=1e-3)
    assert accuracy > 15


# --- the benchmark --------------------------------------------------------------------------------


def test_benchmark_runs_small(monkeypatch, capsys):
    """In this process: importing everything anew takes longer than all the rest."""
    file = str(CHECKOUT / 'benchmarks' / 'data.py')
    monkeypatch.setenv('OMP_WAIT_POLICY', 'PASSIVE')  # the script sets it where it is not set
    monkeypatch.syspath_prepend(str(CHECKOUT / 'benchmarks'))
    monkeypatch.setattr(
        sys,
        'argv',
        [file, *['--images', '600', '--batches', '1', '--rounds', '1', '--device', 'cpu']],
    )
    runpy.run_path(file, run_name='__main__')
    rate, ratio = capsys.readouterr().out.splitlines()[-2:]
    assert rate.startswith('images/s: ')
    assert int(rate.split()[1]) > 0
    assert ratio.startswith('ratio: ')
    assert float(ratio.split()[1]) > 0
    assert len(ratio.split('.')[1]) == 2
