"""The digits data set: what it holds, how it is split, and that MMPretrain's pipelines take it."""

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from sklearn.datasets import load_digits

from mmdynakd.datasets import Digits
from mmdynakd.datasets.digits import split_indices
from mmdynakd.registry import DATASETS

COUNTS = {'train': 1085, 'val': 357, 'trainval': 1442, 'test': 355}


def test_splits_are_disjoint_covering_and_stratified():
    labels = load_digits().target
    parts = {name: split_indices(labels, name) for name in COUNTS}
    assert {name: len(part) for name, part in parts.items()} == COUNTS
    assert sorted(np.concatenate([parts['train'], parts['val'], parts['test']])) == list(
        range(1797)
    )
    assert sorted(np.concatenate([parts['train'], parts['val']])) == parts['trainval'].tolist()
    for label in range(10):
        members = np.flatnonzero(labels == label)
        for name, share in (('train', 0.6), ('val', 0.2), ('test', 0.2)):
            assert abs(np.isin(parts[name], members).sum() - share * len(members)) < 2


def test_splits_follow_the_position_in_the_class():
    labels = [1, 0, 1, 1, 1, 0, 1, 1]
    assert split_indices(labels, 'train').tolist() == [0, 1, 2, 3, 5, 7]
    assert split_indices(labels, 'val').tolist() == [4]
    assert split_indices(labels, 'test').tolist() == [6]


@pytest.mark.parametrize('split', COUNTS)
def test_images_are_the_originals_scaled(split):
    source, data = load_digits(), Digits(split)
    assert len(data) == COUNTS[split]
    for row, index in enumerate(split_indices(source.target, split)):
        info = data.get_data_info(row)
        assert info['img'].dtype == np.uint8
        assert info['img'].shape == (8, 8, 1)
        assert np.array_equal(np.rint(info['img'][..., 0] * (16 / 255)), source.images[index])
        assert info['gt_label'] == source.target[index]
    assert max(data.get_data_info(i)['img'].max() for i in range(len(data))) == 255


def test_three_channels_repeat_the_grey_value():
    grey, colour = (
        Digits('val').get_data_info(3)['img'],
        Digits('val', channels=3).get_data_info(3)['img'],
    )
    assert colour.shape == (8, 8, 3)
    assert all(np.array_equal(colour[..., c], grey[..., 0]) for c in range(3))


@pytest.mark.parametrize('channels', [1, 3])
def test_mmpretrain_crops_packs_and_normalises_it(channels):
    pipeline = [{'type': 'RandomCrop', 'crop_size': 8, 'padding': 1}, {'type': 'PackInputs'}]
    data = DATASETS.build({'type': 'mmdynakd.Digits', 'channels': channels, 'pipeline': pipeline})
    plain = Digits(channels=channels).get_data_info(5)['img'].transpose(2, 0, 1)
    padded = np.pad(plain, ((0, 0), (1, 1), (1, 1)))
    windows = [padded[:, y : y + 8, x : x + 8] for y in range(3) for x in range(3)]
    seen = set()
    for _ in range(60):
        sample = data[5]
        assert sample['inputs'].dtype == torch.uint8
        hits = [
            i
            for i, window in enumerate(windows)
            if np.array_equal(window, sample['inputs'].numpy())
        ]
        assert hits
        seen.update(hits)
        assert sample['data_samples'].gt_label.tolist() == [data.get_data_info(5)['gt_label']]
    assert len(seen) > 4
    processor = MMPRETRAIN_MODELS.build(
        {'type': 'ClsDataPreprocessor', 'mean': [128.0] * channels, 'std': [64.0] * channels}
    )
    batch = processor(
        {'inputs': [sample['inputs']] * 2, 'data_samples': [sample['data_samples']] * 2}
    )
    expected = (sample['inputs'].float() - 128) / 64
    assert torch.equal(batch['inputs'], torch.stack([expected] * 2))


def test_base_arguments_and_errors():
    assert len(Digits('train', indices=7)) == 7
    assert [Digits('train', indices=[4, 2])[i]['gt_label'] for i in range(2)] == [
        Digits('train')[i]['gt_label'] for i in (4, 2)
    ]
    assert Digits().metainfo['classes'] == tuple('0123456789')
    assert tuple('abcdefghij') == Digits(metainfo={'classes': tuple('abcdefghij')}).CLASSES
    assert 'Split: \tval' in repr(Digits('val'))
    with pytest.raises(ValueError, match=r"one of .*'train'.* got 'valid'"):
        Digits('valid')
    with pytest.raises(ValueError, match='1 or 3, got 2'):
        Digits(channels=2)
