"""Views: a sample's augmentation is a function of (seed, epoch, index), whatever else goes on."""

import copy
import functools
import os
import random
import subprocess
import sys
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from global_generators import drawn_now, reseed
from mmcv.transforms import BaseTransform
from mmengine.dataset import DefaultSampler
from mmengine.registry import TRANSFORMS, DefaultScope
from mmengine.runner import Runner
from runs import CHECKOUT
from sklearn.datasets import load_digits

import mmdynakd.datasets
from mmdynakd.datasets import View, Views, ViewSampler, is_deterministic
from mmdynakd.datasets.fingerprint import entries, fingerprint
from mmdynakd.registry import DATASETS


@TRANSFORMS.register_module(force=True)
class FromEveryGenerator(BaseTransform):
    """Adds to the image what Python's, NumPy's and torch's generators give."""

    def transform(self, results):
        drawn = random.randrange(256) + 3 * np.random.randint(256) + 7 * int(torch.randint(256, ()))  # noqa: NPY002
        results['img'] = ((results['img'].astype(int) + drawn) % 256).astype(np.uint8)
        return results


READ = functools.lru_cache(load_digits)
RANDOM = [
    dict(type='RandomCrop', crop_size=8, padding=2),
    dict(type='FromEveryGenerator'),
    dict(type='PackInputs'),
]
PLAIN = [dict(type='PackInputs')]


@pytest.fixture(autouse=True)
def scope(monkeypatch):
    monkeypatch.setattr(mmdynakd.datasets.digits, 'load_digits', READ)  # the file is read once
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def digits(pipeline=RANDOM, split='val', **options):
    # MMEngine collects garbage when it serializes: most of a short test
    return {
        **dict(type='mmdynakd.Digits', split=split, pipeline=pipeline, serialize_data=False),
        **options,
    }


def views(pipeline=RANDOM, seed=0, random=True, **options):
    return DATASETS.build(
        dict(type='mmdynakd.Views', dataset=digits(pipeline, **options), seed=seed, random=random)
    )


def loader(batch_size, workers=0, shuffle=True, **dataset):
    return Runner.build_dataloader(
        dict(
            batch_size=batch_size,
            num_workers=workers,
            sampler=dict(type='mmdynakd.ViewSampler', shuffle=shuffle),
            dataset=dict(type='mmdynakd.Views', dataset=digits(indices=60), **dataset),
        ),
        seed=11,
    )


def served(loader, epoch):
    """``{view: pixels}`` of an epoch, and the order of the views."""
    loader.sampler.set_epoch(epoch)
    pixels = {}
    for batch in loader:
        for image, sample in zip(batch['inputs'], batch['data_samples']):
            assert sample.view_size == 60
            pixels[sample.view] = image
    return pixels, list(pixels)


# --- the sampler ----------------------------------------------------------------------------------


@pytest.mark.parametrize(('rank', 'world'), [(0, 1), (0, 3), (2, 3)])
@pytest.mark.parametrize('shuffle', [True, False])
@pytest.mark.parametrize('round_up', [True, False])
def test_the_order_is_that_of_default_sampler(rank, world, shuffle, round_up):
    with mock.patch('mmengine.dataset.sampler.get_dist_info', return_value=(rank, world)):
        ours, theirs = (
            kind(range(40), shuffle=shuffle, seed=5, round_up=round_up)
            for kind in (ViewSampler, DefaultSampler)
        )
    assert len(ours) == len(theirs)
    assert list(ours) == [View(0, index) for index in theirs]
    for epoch in (1, 7):
        ours.set_epoch(epoch), theirs.set_epoch(epoch)
        got = list(ours)
        assert got == [View(epoch, index) for index in theirs]
        assert all(type(view) is View for view in got)


# --- purity ---------------------------------------------------------------------------------------


def test_a_view_is_the_same_in_every_order_batch_and_worker():
    reseed(0)
    first, order = served(loader(7), 2)
    reseed(1)
    for other in (loader(16, shuffle=False), loader(60), loader(8, workers=2)):
        drawn_now()
        again, other_order = served(other, 2)
        assert again.keys() == first.keys()
        assert all(torch.equal(again[view], first[view]) for view in first)
    assert sorted(first) == list(range(120, 180))
    assert order != sorted(order)
    assert other_order == order  # workers change nothing in it


def test_epoch_seed_and_index_each_change_the_view():
    data, other = views(indices=20), views(indices=20, seed=1)
    base = [data[View(0, index)]['inputs'] for index in range(20)]
    for changed in (
        [data[View(1, index)]['inputs'] for index in range(20)],
        [other[View(0, index)]['inputs'] for index in range(20)],
    ):
        assert sum(torch.equal(a, b) for a, b in zip(base, changed)) <= 1
    same = Views(
        SimpleNamespace(__getitem__=None), 0
    )  # one image under every index: only the index differs
    same.dataset = mock.MagicMock(**{'__len__.return_value': 20})
    same.dataset.__getitem__.side_effect = lambda index: data.dataset[3]
    same.fingerprint = 'x'
    pixels = {same[View(0, index)]['inputs'].numpy().tobytes() for index in range(20)}
    assert len(pixels) >= 19


def test_nothing_outside_is_disturbed():
    data = views()
    reseed(5)
    expected = [drawn_now(), drawn_now()]
    reseed(5)
    assert drawn_now() == expected[0]
    data[View(0, 1)], data[View(3, 2)]
    data.dataset.pipeline.transforms.append(lambda results: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        data[View(0, 1)]
    assert is_deterministic(views(PLAIN, random=False))
    assert drawn_now() == expected[1]


def test_tags_and_what_is_handed_on():
    data = views(indices=20)
    sample = data[View(3, 4)]['data_samples']
    assert (sample.view, sample.view_source, sample.view_size) == (64, data.fingerprint, 20)
    assert set(sample.metainfo) >= {'view', 'view_source', 'view_size'}
    assert len(data) == 20
    assert data.metainfo['classes'] == tuple('0123456789')
    assert sample.gt_label.item() == data.get_gt_labels()[4]


def test_bare_indices():
    with pytest.raises(ValueError, match=r"bare index 3.*type='mmdynakd.ViewSampler'"):
        views()[3]
    fixed = views(PLAIN, random=False)
    bare, view = fixed[3], fixed[View(9, 3)]
    assert torch.equal(bare['inputs'], view['inputs'])
    assert bare['data_samples'].view == view['data_samples'].view == 3
    crops = views(random=False)  # of epoch 0, whoever asks when
    assert torch.equal(crops[3]['inputs'], crops[View(9, 3)]['inputs'])


def test_errors():
    with pytest.raises(ValueError, match='seed must be >= 0'):
        views(seed=-1)
    with pytest.raises(ValueError, match='PackInputs'):
        views(pipeline=[])[View(0, 0)]
    with pytest.raises(ValueError, match='get_data_info'):
        Views([1, 2]).full_init()


# --- fingerprints ---------------------------------------------------------------------------------


def test_fingerprint_tells_apart_what_changes_pixels_or_labels():
    crop = [dict(type='RandomCrop', crop_size=8, padding=1), *RANDOM[1:]]
    prints = [
        views().fingerprint,
        views(seed=1).fingerprint,
        views(random=False).fingerprint,
        views(crop).fingerprint,
        views(PLAIN).fingerprint,
        views(split='test').fingerprint,
        views(indices=30).fingerprint,
        views(indices=[1, 0]).fingerprint,
        views(indices=[0, 1]).fingerprint,
        views(channels=3).fingerprint,
    ]
    relabelled = views()
    relabelled.dataset.data_list[7]['gt_label'] += 1
    repainted = views()
    repainted.dataset.data_list[7]['img'][0, 0, 0] ^= 1
    prints += [relabelled.fingerprint, repainted.fingerprint]
    assert len(set(prints)) == len(prints)
    assert all(len(text) == 64 and int(text, 16) for text in prints)


def test_fingerprint_is_the_same_for_the_same():
    assert views().fingerprint == views().fingerprint == views(serialize_data=True).fingerprint
    used = views()
    used[View(0, 0)]
    assert used.fingerprint == views(lazy_init=True).fingerprint
    built = views()
    before = built.fingerprint
    built.full_init()
    assert built.fingerprint == before


def test_files_are_known_by_path_size_and_time(tmp_path):
    path = tmp_path / 'a.png'
    path.write_bytes(b'12')
    data = mock.MagicMock(
        **{'__len__.return_value': 1, 'get_data_info.return_value': dict(img_path=str(path))}
    )
    os.utime(path, ns=(5, 5))
    states = [fingerprint(list(entries(data)))]
    assert fingerprint(list(entries(data))) == states[0]
    os.utime(path, ns=(6, 6))
    states.append(fingerprint(list(entries(data))))
    path.write_bytes(b'123')
    os.utime(path, ns=(6, 6))
    states.append(fingerprint(list(entries(data))))
    path.unlink()
    states.append(fingerprint(list(entries(data))))
    assert len(set(states)) == 4


VALUES = """
import functools, re, sys
import numpy as np, torch
values = [{'b': 1, 'a': {'x', 'y', 'z', 'w'}}, np.arange(6).reshape(2, 3), torch.eye(2),
          (1, 2.5, None, True, b'x'), functools.partial(np.clip, a_min=0), np.float32(0.5),
          sys.intern, re.compile('a+'), torch.float32]
"""


def test_fingerprint_is_equal_in_other_processes():
    """Whatever the order of its sets and where its objects lie."""
    script = VALUES + (
        "import importlib.util as u; s = u.spec_from_file_location('f', sys.argv[1]); "
        'f = u.module_from_spec(s); s.loader.exec_module(f); print(f.fingerprint(values))'
    )
    file = CHECKOUT / 'mmdynakd' / 'datasets' / 'fingerprint.py'
    ended = subprocess.run(
        [sys.executable, '-c', script, str(file)],
        check=True,
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONHASHSEED='1'),
    )  # pytest's own process has another
    here = {}
    exec(VALUES, here)
    assert ended.stdout.strip() == fingerprint(here['values'])


def test_values_that_differ_have_other_fingerprints():
    cycle = []
    cycle.append(cycle)
    values = [
        1,
        1.0,
        True,
        '1',
        b'1',
        None,
        [1],
        (1,),
        {1},
        {1: 1},
        np.array([1]),
        np.array([1.0]),
        np.array([[1]]),
        np.array([1], dtype=np.int8),
        [[1], 2],
        [1, [2]],
        [],
        [[]],
        cycle,
        np.clip,
        functools.partial(np.clip, 1),
        SimpleNamespace(a=1),
        SimpleNamespace(a=2),
        SimpleNamespace(b=1),
        torch.zeros(1),
        torch.zeros(2),
    ]
    prints = [fingerprint(value) for value in values]
    assert len(set(prints)) == len(values)
    assert prints == [fingerprint(value) for value in values]


def test_what_cannot_be_described_is_never_the_same():
    for opaque in (lambda x: x, np.random.RandomState(0), object()):
        assert fingerprint(opaque) != fingerprint(opaque)


# --- determinism ----------------------------------------------------------------------------------


class RandomLabels(list):
    """A data set whose pixels stay and whose labels do not."""

    def __getitem__(self, index):
        item = copy.deepcopy(super().__getitem__(index))
        item['data_samples'].set_gt_label(np.random.randint(1000))  # noqa: NPY002
        return item


def test_is_deterministic():
    assert is_deterministic(DATASETS.build(digits(PLAIN)))
    assert not is_deterministic(DATASETS.build(digits()))
    assert not is_deterministic(views())
    assert is_deterministic(views(PLAIN))
    assert is_deterministic(views(random=False))
    assert not is_deterministic(
        RandomLabels(DATASETS.build(digits(PLAIN, indices=5))[i] for i in range(5))
    )


def test_is_deterministic_looks_all_over_the_data_set():
    data = DATASETS.build(digits(PLAIN, indices=100))
    asked = mock.MagicMock(**{'__len__.return_value': 100}, takes_views=False)
    asked.__getitem__.side_effect = lambda index: data[index]
    assert is_deterministic(asked, probe=5)
    assert [call.args[0] for call in asked.__getitem__.call_args_list] == [
        0,
        0,
        24,
        24,
        49,
        49,
        74,
        74,
        99,
        99,
    ]
