"""The data samples of a batch, with the facts about the batch as a whole."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch
from mmpretrain.structures import DataSample


@dataclass(frozen=True)
class BatchViews:
    """Which views a batch holds, see :class:`mmdynakd.datasets.Views`.

    Attributes:
        source: Fingerprint of the data set. Two views of one source and one id have the same
            pixels.
        size: N, the number of samples of the data set. A view's sample is id mod N, and its epoch
            is id // N.
        ids: (B,) int64, on the host.

    Examples:
        >>> views = BatchViews('cifar', size=50000, ids=torch.tensor([3, 50003]))
        >>> (views.ids % views.size).tolist(), (views.ids // views.size).tolist()
        ([3, 3], [0, 1])
    """

    source: str
    size: int
    ids: torch.Tensor


class Samples(Sequence[DataSample]):
    """B data samples of MMPretrain, with their labels as one tensor and the batch's views.

    In training, samples of one class may be one object, so do not change them. A deep copy has its
    own objects. This is not a list or a tuple, because ``DistributedDataParallel`` rebuilds those
    without their attributes.

    Args:
        items: The B samples.
        labels: (B,) class indices on the training device. None where not every sample has exactly
            one label.
        views: The batch's views. None where views do not determine the pixels.

    Examples:
        >>> items = [DataSample().set_gt_label(label) for label in (4, 7)]
        >>> samples = Samples(items, torch.tensor([4, 7]))
        >>> samples
        Samples(2 samples, views of None)
        >>> samples[1].gt_label.item()
        7
    """

    def __init__(
        self, items: list[DataSample], labels: torch.Tensor | None, views: BatchViews | None = None
    ) -> None:
        self._items, self.labels, self.views = items, labels, views

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> DataSample: ...

    @overload
    def __getitem__(self, index: slice) -> list[DataSample]: ...

    def __getitem__(self, index: int | slice) -> DataSample | list[DataSample]:
        return self._items[index]

    def __iter__(self) -> Iterator[DataSample]:
        return iter(self._items)

    def __deepcopy__(self, memo: dict[int, Any]) -> 'Samples':
        # Without memo: a sample that stands in several places becomes several objects.
        items = [copy.deepcopy(item) for item in self._items]
        return Samples(items, copy.deepcopy(self.labels, memo), self.views)

    def __repr__(self) -> str:
        source = self.views.source[:8] if self.views else None
        return f'Samples({len(self)} samples, views of {source})'
