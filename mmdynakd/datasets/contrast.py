"""What contrastive distillation (CRD) asks of a data set: each sample's bank row and negatives."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from mmdynakd.registry import DATASETS

from .source import Item, Labels, Source, built


@DATASETS.register_module()
class ContrastDataset(Dataset[Item]):
    """Adds what MMRazor's ``CRDLoss`` reads: ``sample_idx`` and ``contrast_sample_idxs``.

    The first contrast index is the sample itself. The others are samples of other classes, drawn
    anew each time, with replacement if there are too few. This is the sampling of Tian et al.,
    "Contrastive Representation Distillation", ICLR 2020. Another split, such as val in a search,
    needs rows of the bank of its own.

    Args:
        dataset: a data set of MMPretrain (config or built), with labels.
        num_negatives: K, the loss's ``neg_num``.
        first_row: row of the memory bank that the first sample has. The loss's ``sample_n`` must be
            greater than the last sample's row.

    Raises:
        ValueError: ``num_negatives`` < 1, ``first_row`` < 0, or a data set of one class.

    Examples:
        >>> digits = dict(
        ...     type='mmdynakd.Digits', split='val', pipeline=[dict(type='mmpretrain.PackInputs')]
        ... )
        >>> sample = ContrastDataset(digits, num_negatives=4, first_row=1000)[5]['data_samples']
        >>> sample.sample_idx.item(), tuple(sample.contrast_sample_idxs.shape)
        (1005, (5,))
    """

    def __init__(
        self, dataset: Source | Mapping[str, Any], num_negatives: int, first_row: int = 0
    ) -> None:
        if num_negatives < 1 or first_row < 0:
            raise ValueError(
                f'num_negatives must be >= 1 and first_row >= 0, got {num_negatives} and '
                f'{first_row}'
            )
        self.dataset = built(dataset)
        self.num_negatives, self.first_row = num_negatives, first_row
        self._labels = np.asarray(self.dataset.get_gt_labels())
        classes = np.unique(self._labels).tolist()
        if len(classes) < 2:
            raise ValueError('contrast needs samples of at least two classes')
        self._others = {label: np.flatnonzero(self._labels != label) for label in classes}

    @property
    def metainfo(self) -> Mapping[str, Any]:
        """Class names and the like, of the inner data set."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Loads the inner data set."""
        self.dataset.full_init()

    def get_gt_labels(self) -> Labels:
        """(N,) classes."""
        return self._labels

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Item:
        item = self.dataset[index]
        others = self._others[int(self._labels[index])]
        negatives = np.random.choice(  # noqa: NPY002 - the generator that MMEngine seeds
            others, self.num_negatives, replace=self.num_negatives > len(others)
        )
        sample = item['data_samples']
        sample.pop('sample_idx', None)  # PackInputs keeps it as a number among the meta data
        rows = torch.from_numpy(np.concatenate([[index], negatives])) + self.first_row
        sample.set_data(dict(sample_idx=rows[0].clone(), contrast_sample_idxs=rows))
        return item
