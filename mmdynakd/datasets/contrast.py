"""What contrastive distillation (CRD) asks of a data set: every sample's row of the memory bank,
and its negatives.
"""

import numpy as np
import torch
from torch.utils.data import Dataset

from mmdynakd.registry import DATASETS


@DATASETS.register_module()
class ContrastDataset(Dataset):
    """Adds to the samples of a data set what MMRazor's ``CRDLoss`` reads: ``sample_idx``,
    ``contrast_sample_idxs``.

    The first contrast index is the sample itself, the others are samples of other classes, drawn
    anew each time (with replacement where there are fewer): the sampling of Tian et al.,
    "Contrastive Representation Distillation", ICLR 2020. A split of its own, such as val in a
    search, takes its own rows of the bank.

    Args:
        dataset: a data set of MMPretrain (config or built), with labels.
        num_negatives: K, the loss's ``neg_num``.
        first_row: row of the memory bank of the first sample; the loss's ``sample_n`` must reach
            behind the last.

    Raises:
        ValueError: for ``num_negatives`` < 1, ``first_row`` < 0, or a data set of one class.
    """

    def __init__(self, dataset, num_negatives: int, first_row: int = 0) -> None:
        if num_negatives < 1 or first_row < 0:
            raise ValueError(
                f'num_negatives must be >= 1 and first_row >= 0, got {num_negatives} and '
                f'{first_row}'
            )
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.num_negatives, self.first_row = num_negatives, first_row
        self._labels = np.asarray(self.dataset.get_gt_labels())
        if len(set(self._labels.tolist())) < 2:
            raise ValueError('contrast needs samples of at least two classes')
        self._others = {
            label: np.flatnonzero(self._labels != label) for label in set(self._labels.tolist())
        }

    @property
    def metainfo(self) -> dict:
        return self.dataset.metainfo

    def full_init(self) -> None:
        self.dataset.full_init()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        item = self.dataset[index]
        others = self._others[int(self._labels[index])]
        negatives = np.random.choice(
            others, self.num_negatives, replace=self.num_negatives > len(others)
        )
        sample = item['data_samples']
        sample.pop('sample_idx', None)  # PackInputs keeps it as a number among the meta data
        rows = torch.from_numpy(np.concatenate([[index], negatives])) + self.first_row
        sample.set_data(dict(sample_idx=rows[0].clone(), contrast_sample_idxs=rows))
        return item
