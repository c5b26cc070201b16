"""A whole split in memory as one array, served by the batch, augmented on the training device."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from mmengine.dataset import pseudo_collate
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

from mmdynakd.functional import crop_flip, view_uniforms
from mmdynakd.registry import DATASETS, FUNCTIONS

from .fingerprint import fingerprint
from .source import Item, Labels, Source, built
from .views import View, as_view

Integers = npt.NDArray[np.int64]
REMEDY = 'mmdynakd.Views serves any data set, through its own pipeline'


def batch_collate(batch: Mapping[str, Any] | Sequence[Item]) -> Mapping[str, Any]:
    """Passes on a batch that the data set made; collates a list of samples as MMEngine does.

    Examples:
        >>> batch_collate(dict(inputs='a batch'))
        {'inputs': 'a batch'}
        >>> batch_collate([dict(a=1), dict(a=2)])
        {'a': [1, 2]}
    """
    if isinstance(batch, Mapping):
        return batch
    collated: dict[str, Any] = pseudo_collate(batch)
    return collated


FUNCTIONS.register_module(module=batch_collate)


@DATASETS.register_module()
class ArrayDataset(Dataset[Item]):
    """Images of one size in one array, served a batch a call.

    Crop and flip are drawn here and applied on the training device. A view's crop and flip are a
    function of (seed, view): the same in every order, batch, process and rank.

    In a config, a loader that augments needs ``sampler=dict(type='mmdynakd.ViewSampler')``; every
    loader needs ``collate_fn=dict(type='mmdynakd.batch_collate')``; the model needs
    ``data_preprocessor=dict(type='mmdynakd.BatchPreprocessor')``.

    Args:
        dataset: a data set of MMPretrain (config or built) with ``img``, one (H, W, C) uint8 array
            a sample, and ``gt_label``. It is read once; its pipeline is not run.
        crop_padding: P; images are padded by P zeros on each side and cropped to (H, W) at random.
            None does not crop.
        flip: probability of a flip from left to right.
        seed: of crops and flips, 0 <= seed < 2**64.

    Raises:
        ValueError: an argument or the data set is not of this kind; or the data set augments and is
            indexed by a bare int.

    Examples:
        >>> digits = dict(type='mmdynakd.Digits', split='val')
        >>> data = ArrayDataset(digits, crop_padding=1, flip=0.5)
        >>> batch = data.__getitems__([View(0, 5), View(0, 7)])
        >>> tuple(batch['inputs'].shape), batch['labels'].tolist()
        ((2, 1, 8, 8), [4, 7])
        >>> batch['crop'].tolist(), batch['flip'].tolist()
        ([[2, 1], [0, 0]], [False, True])
    """

    takes_views = True

    def __init__(
        self,
        dataset: Source | Mapping[str, Any],
        crop_padding: int | None = None,
        flip: float = 0,
        seed: int = 0,
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
        source = built(dataset)
        self.metainfo = source.metainfo
        self.images, self.labels = (torch.from_numpy(array) for array in read(source))
        augmentation = (self.padding, float(flip), seed) if self.random else None
        self.fingerprint = fingerprint(
            'mmdynakd.ArrayDataset 1', self.images, self.labels, augmentation
        )

    def full_init(self) -> None:
        """Does nothing, as all is loaded; MMEngine calls it."""

    def get_gt_labels(self) -> Labels:
        """(N,) classes."""
        labels: Labels = self.labels.numpy()
        return labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: Sequence[View] | Sequence[int]) -> Item:
        """A batch of B views, or of B indices where nothing is random.

        Returns:
            ``inputs`` (B, C, H, W) uint8, not augmented; ``labels`` (B,) int64; ``views`` with
            ``source``, the :attr:`fingerprint`, ``size``, N, and ``ids`` (B,) int64, epoch · N +
            index. If the data set augments, also ``crop`` (B, 2), ``flip`` (B,) and ``padding``,
            for :func:`mmdynakd.functional.crop_flip`.
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

    def _columns(self, indices: Sequence[View] | Sequence[int]) -> tuple[Integers, Integers]:
        """Epochs and rows, (B,) each; the indices of a batch are of one kind."""
        views: Sequence[Any] = indices
        if not isinstance(indices[0], View):
            views = [as_view(index, self.random, 'ArrayDataset') for index in indices]
        epochs, rows = (
            np.fromiter(map(itemgetter(column), views), np.int64, len(views)) for column in (0, 1)
        )
        return epochs if self.random else np.zeros_like(epochs), rows

    def _augmentation(
        self, ids: torch.Tensor, epochs: torch.Tensor, rows: torch.Tensor
    ) -> list[torch.Tensor]:
        """Offsets, (B, 2), and flips, (B,), of views; an epoch's are drawn at once and kept."""
        epoch = int(epochs[0])
        if len(ids) == 1 or (epochs != epoch).any():
            return self._drawn(ids)
        if self._epoch[0] != epoch:
            self._epoch = epoch, self._drawn(len(self) * epoch + torch.arange(len(self)))
        return [table.index_select(0, rows) for table in self._epoch[1]]

    def _drawn(self, ids: torch.Tensor) -> list[torch.Tensor]:
        drawn = torch.from_numpy(view_uniforms(self.seed, ids.numpy(), 3))
        return [(drawn[:, :2] * (2 * self.padding + 1)).long(), drawn[:, 2] < self.flip]

    def __getitem__(self, index: View | int) -> Item:
        """One sample as MMPretrain's ``PackInputs`` gives it, augmented."""
        batch = self.__getitems__([as_view(index, self.random, 'ArrayDataset')])
        inputs, views = batch['inputs'], batch['views']
        if self.random:
            inputs = crop_flip(inputs, batch['crop'], batch['flip'], self.padding)
        sample = DataSample().set_gt_label(batch['labels'])
        sample.set_metainfo(
            dict(view=int(views['ids']), view_source=views['source'], view_size=views['size'])
        )
        return dict(inputs=inputs[0], data_samples=sample)


def read(dataset: Source) -> tuple[npt.NDArray[np.uint8], Labels]:
    """Reads all images and labels of a data set, before its pipeline.

    Returns:
        Images, (N, C, H, W) uint8, and labels, (N,) int64.

    Raises:
        ValueError: there are no samples; or one is not a (H, W, C) uint8 array of the first one's
            shape with one label.

    Examples:
        >>> images, labels = read(built(dict(type='mmdynakd.Digits', split='val')))
        >>> images.shape, labels.shape
        ((357, 1, 8, 8), (357,))
    """
    dataset.full_init()
    if not len(dataset):
        raise ValueError('ArrayDataset: the data set is empty')
    first, _ = _checked(dataset.get_data_info(0), 0)
    images = np.empty((len(dataset), *first.shape), dtype=np.uint8)
    labels = np.empty(len(dataset), dtype=np.int64)
    for index in range(len(dataset)):
        image, labels[index] = _checked(dataset.get_data_info(index), index)
        if image.shape != first.shape:
            raise ValueError(
                f'ArrayDataset: sample {index} is of shape {image.shape}, the first of '
                f'{first.shape} (channels first); {REMEDY}'
            )
        images[index] = image
    return images, labels


def _checked(info: Item, index: int) -> tuple[npt.NDArray[np.uint8], int]:
    """Image, (C, H, W), and label of a sample."""
    image, label = info.get('img'), info.get('gt_label')
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3:
        raise ValueError(
            f"ArrayDataset: 'img' of sample {index} is not a (H, W, C) uint8 array; {REMEDY}"
        )
    if not isinstance(label, (int, np.integer)):
        raise ValueError(
            f"ArrayDataset: 'gt_label' of sample {index} is {label!r}, not one class; {REMEDY}"
        )
    return image.transpose(2, 0, 1), int(label)
