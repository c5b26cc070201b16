"""The data samples of a batch, with what the batch as a whole knows of them."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from mmpretrain.structures import DataSample


@dataclass(frozen=True)
class BatchViews:
    """Which views a batch holds, see :class:`mmdynakd.datasets.Views`.

    Attributes:
        source: fingerprint of the data set: two views of one source and one id have the same
            pixels.
        size: N, the number of samples of the data set; sample and epoch are ids mod N and ids // N.
        ids: (B,) int64, on the host.
    """

    source: str
    size: int
    ids: torch.Tensor


class Samples(Sequence):
    """B data samples of MMPretrain, the labels as one tensor, and the batch's views.

    In training, samples of one class may be one object: they are read-only. A deep copy has objects
    of its own. It is no list or tuple, as ``DistributedDataParallel`` builds those anew, without
    attributes.

    Attributes:
        labels: (B,) class indices on the training device; None where samples have no single label
            each.
        views: None where the pixels are no function of the views.
    """

    def __init__(
        self, items: list[DataSample], labels: torch.Tensor | None, views: BatchViews | None = None
    ) -> None:
        self._items, self.labels, self.views = items, labels, views

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int | slice) -> DataSample | list[DataSample]:
        return self._items[index]

    def __iter__(self) -> Iterator[DataSample]:
        return iter(self._items)

    def __deepcopy__(self, memo: dict) -> 'Samples':
        return Samples(
            [copy.deepcopy(item) for item in self._items],
            copy.deepcopy(self.labels, memo),
            self.views,
        )

    def __repr__(self) -> str:
        return f'Samples({len(self)} samples, views of {self.views.source[:8] if self.views else None})'
