"""ContrastDataset: rows and negatives of CRD, and MMRazor's loss on what the loader gives."""

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope

from mmdynakd.datasets import ContrastDataset
from mmdynakd.registry import DATASETS, MODELS


def digits(split='train', **options):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return DATASETS.build(
            dict(
                type='mmdynakd.Digits',
                split=split,
                pipeline=[dict(type='mmpretrain.PackInputs')],
                **options,
            )
        )


@pytest.mark.parametrize('first_row', [0, 1000])
@pytest.mark.parametrize('num_negatives', [1, 20, 5000])
def test_rows_and_negatives(num_negatives, first_row):
    base = digits()
    made, labels = ContrastDataset(base, num_negatives, first_row), np.asarray(base.get_gt_labels())
    assert len(made) == len(base)
    assert made.metainfo == base.metainfo
    for index in (0, 7, len(base) - 1):
        sample = made[index]['data_samples']
        assert sample.sample_idx.item() == index + first_row
        rows = sample.contrast_sample_idxs - first_row
        assert rows.shape == (num_negatives + 1,)
        assert rows.dtype == torch.long
        assert rows[0] == index
        assert not np.any(labels[rows[1:]] == labels[index])
        assert rows.min() >= 0
        assert rows.max() < len(base)
        if num_negatives == 20:  # fewer than there are others: none twice
            assert len(set(rows.tolist())) == 21


def test_negatives_are_drawn_anew_and_by_the_generator():
    made = ContrastDataset(digits(), 20)
    np.random.seed(0)  # noqa: NPY002 - the generator that MMEngine seeds
    first = [made[3]['data_samples'].contrast_sample_idxs for _ in range(2)]
    np.random.seed(0)  # noqa: NPY002
    again = made[3]['data_samples'].contrast_sample_idxs
    assert torch.equal(first[0], again)
    assert not torch.equal(*first)


def test_mmrazors_loss_reads_it_and_updates_the_rows_alone():
    made = ContrastDataset(digits(), 6, first_row=3)
    samples = pseudo_collate([made[i] for i in range(4)])['data_samples']
    loss = MODELS.build(dict(type='mmrazor.CRDLoss', neg_num=6, sample_n=3 + len(made), dim_out=8))
    before = loss.contrast.memory_v1.clone()
    features = torch.nn.functional.normalize(torch.randn(2, 4, 8), dim=-1)
    assert torch.isfinite(loss(*features, samples))
    changed = (loss.contrast.memory_v1 != before).any(1).nonzero().flatten().tolist()
    assert changed == [3, 4, 5, 6]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_negatives=0), 'num_negatives must be >= 1'),
        (dict(num_negatives=1, first_row=-1), 'first_row >= 0'),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        ContrastDataset(digits(), **options)


def test_one_class_is_an_error():
    base = digits()
    first = np.flatnonzero(np.asarray(base.get_gt_labels()) == 0).tolist()
    with pytest.raises(ValueError, match='at least two classes'):
        ContrastDataset(base.get_subset(first), 1)
