"""A whole split in memory as one array, served by the batch and augmented where the training runs."""

from collections.abc import Mapping, Sequence
from operator import itemgetter

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

from mmdynakd.functional import crop_flip, view_uniforms
from mmdynakd.registry import DATASETS, FUNCTIONS

from .fingerprint import fingerprint
from .views import View, as_view


@FUNCTIONS.register_module()
def batch_collate(batch: dict | list) -> dict:
    """Passes on what a data set serves as a batch; collates a list of samples as MMEngine does by
    default.
    """
    return batch if isinstance(batch, Mapping) else pseudo_collate(batch)


@DATASETS.register_module()
class ArrayDataset(Dataset):
    """Images of one size in one array, a batch a call; crop and flip are drawn here and done on the
    training device.

    A loader needs ``sampler=dict(type='mmdynakd.ViewSampler')`` where it augments, and
    ``collate_fn=dict(type='mmdynakd.batch_collate')``; the model needs
    ``mmdynakd.BatchPreprocessor``. A view's crop and flip are a function of (seed, view): equal in
    every order, batch, process and rank.

    Args:
        dataset: a data set of MMPretrain (config or built) with ``img``, one (H, W, C) uint8 array
            a sample, and ``gt_label``. It is read once; its pipeline is not run.
        crop_padding: P: pad by P zeros on every side and crop to (H, W) at random; None does not.
        flip: probability of a flip from left to right.
        seed: of crops and flips, 0 <= seed < 2**64.

    Raises:
        ValueError: for another argument or data set; when indexed by a bare int while it augments.
    """

    takes_views = True

    def __init__(
        self, dataset, crop_padding: int | None = None, flip: float = 0, seed: int = 0
    ) -> None:
        if crop_padding is not None and not (isinstance(crop_padding, int) and crop_padding > 0):
            raise ValueError(
                f'ArrayDataset: crop_padding must be an int > 0 or None, got {crop_padding!r}'
            )
        if not 0 <= flip <= 1:
            raise ValueError(f'ArrayDataset: flip is a probability in [0, 1], got {flip!r}')
        if not 0 <= seed < 2**64:
            raise ValueError(f'ArrayDataset: seed must be in [0, 2**64), got {seed!r}')
        self.padding, self.flip, self.seed = crop_padding or 0, flip, seed
        self.random = crop_padding is not None or flip > 0
        self._epoch: tuple[int | None, list[torch.Tensor]] = None, []
        dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.metainfo = dataset.metainfo
        self.images, self.labels = (torch.from_numpy(array) for array in read(dataset))
        augmentation = (self.padding, float(flip), seed) if self.random else None
        self.fingerprint = fingerprint(
            'mmdynakd.ArrayDataset 1', self.images, self.labels, augmentation
        )

    def full_init(self) -> None:
        """Nothing is left to load."""

    def get_gt_labels(self) -> np.ndarray:
        return self.labels.numpy()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: Sequence[View] | Sequence[int]) -> dict:
        """A batch of B views (of B indices, where nothing is random).

        Returns:
            ``inputs`` (B, C, H, W) uint8, not augmented; ``labels`` (B,) int64; ``views``:
            ``source``, the :attr:`fingerprint`, ``size``, N, and ``ids`` (B,) int64, epoch · N +
            index. Where it augments, also ``crop`` (B, 2), ``flip`` (B,) and ``padding``, for
            :func:`mmdynakd.functional.crop_flip`.
        """
        epochs, rows = (torch.from_numpy(column) for column in self._columns(indices))
        ids = rows + len(self) * epochs
        batch = dict(
            inputs=self.images.index_select(0, rows),
            labels=self.labels.index_select(0, rows),
            views=dict(source=self.fingerprint, size=len(self), ids=ids),
        )
        if self.random:
            batch['crop'], batch['flip'] = self._augmentation(ids, epochs, rows)
            batch['padding'] = self.padding
        return batch

    def _columns(self, indices: Sequence[View] | Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Epochs and rows, (B,) each; the indices of a batch are of one kind."""
        if not isinstance(indices[0], View):
            indices = [as_view(index, self.random, 'ArrayDataset') for index in indices]
        epochs, rows = (
            np.fromiter(map(itemgetter(column), indices), np.int64, len(indices))
            for column in (0, 1)
        )
        return epochs if self.random else np.zeros_like(epochs), rows

    def _augmentation(
        self, ids: torch.Tensor, epochs: torch.Tensor, rows: torch.Tensor
    ) -> list[torch.Tensor]:
        """Offsets, (B, 2), and flips, (B,), of views; those of a batch's epoch are drawn at once
        and kept.
        """
        epoch = int(epochs[0])
        if len(ids) == 1 or (epochs != epoch).any():
            return self._drawn(ids)
        if self._epoch[0] != epoch:
            self._epoch = epoch, self._drawn(len(self) * epoch + torch.arange(len(self)))
        return [table.index_select(0, rows) for table in self._epoch[1]]

    def _drawn(self, ids: torch.Tensor) -> list[torch.Tensor]:
        drawn = torch.from_numpy(view_uniforms(self.seed, ids.numpy(), 3))
        return [(drawn[:, :2] * (2 * self.padding + 1)).long(), drawn[:, 2] < self.flip]

    def __getitem__(self, index: View | int) -> dict:
        """One sample as MMPretrain's ``PackInputs`` gives it, augmented."""
        batch = self.__getitems__([index])
        inputs, views = batch['inputs'], batch['views']
        if self.random:
            inputs = crop_flip(inputs, batch['crop'], batch['flip'], self.padding)
        sample = DataSample().set_gt_label(batch['labels'])
        sample.set_metainfo(
            dict(view=int(views['ids']), view_source=views['source'], view_size=views['size'])
        )
        return dict(inputs=inputs[0], data_samples=sample)


def read(dataset) -> tuple[np.ndarray, np.ndarray]:
    """All images of a data set, (N, C, H, W) uint8, and labels, (N,) int64.

    Raises:
        ValueError: for no samples, or one that is no (H, W, C) uint8 array of the first one's shape
            with one label.
    """
    dataset.full_init()
    remedy = 'mmdynakd.Views serves any data set, through its own pipeline'
    if not len(dataset):
        raise ValueError('ArrayDataset: the data set is empty')
    images, labels = None, np.empty(len(dataset), dtype=np.int64)
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        image, label = info.get('img'), info.get('gt_label')
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3:
            raise ValueError(
                f"ArrayDataset: 'img' of sample {index} is no (H, W, C) uint8 array; {remedy}"
            )
        if not isinstance(label, (int, np.integer)):
            raise ValueError(
                f"ArrayDataset: 'gt_label' of sample {index} is {label!r}, not one class; {remedy}"
            )
        image = image.transpose(2, 0, 1)
        if images is None:
            images = np.empty((len(dataset), *image.shape), dtype=np.uint8)
        if image.shape != images.shape[1:]:
            raise ValueError(
                f'ArrayDataset: sample {index} is of shape {image.shape}, the first of '
                f'{images.shape[1:]} (channels first); {remedy}'
            )
        images[index], labels[index] = image, label
    return images, labels
