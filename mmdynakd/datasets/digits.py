"""Handwritten digits that ship with scikit-learn: real data with no download."""

import functools
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from mmpretrain.datasets import BaseDataset
from sklearn.datasets import load_digits

from mmdynakd.registry import DATASETS

# Of every five samples of a class, in file order, three train, the fourth validates, the fifth
# tests.
PARTS = {'train': (0, 1, 2), 'val': (3,), 'trainval': (0, 1, 2, 3), 'test': (4,)}


def split_indices(labels: npt.ArrayLike, split: str) -> npt.NDArray[np.int64]:
    """Indices of the samples that belong to a split.

    The split is fixed and stratified, about 60/20/20: the position p of a sample among those of its
    class decides, by p mod 5. ``train``, ``val`` and ``test`` are disjoint and cover everything;
    ``trainval`` is the first two together.

    Args:
        labels: (N,) classes, in file order.
        split: ``'train'``, ``'val'``, ``'trainval'`` or ``'test'``.

    Returns:
        (n,) rising indices.

    Examples:
        >>> split_indices([0, 0, 0, 0, 0, 1], 'train').tolist()
        [0, 1, 2, 5]
        >>> split_indices([0, 0, 0, 0, 0, 1], 'val').tolist()
        [3]
    """
    classes = np.asarray(labels)
    position = np.empty(len(classes), dtype=int)
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        position[members] = np.arange(len(members))
    return np.flatnonzero(np.isin(position % 5, PARTS[split]))


# scikit-learn parses a text file each time, which a run of many data sets need not wait for.
source = functools.cache(load_digits)


@DATASETS.register_module()
class Digits(BaseDataset):
    """The 1,797 grey 8x8 digits of ``sklearn.datasets.load_digits``.

    Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test
    part). A sample is ``img``, ``(8, 8, channels)`` uint8 with the original 0..16 scaled to 0..255,
    and ``gt_label``, an int in 0..9. The file does not name the writers, so one writer's digits may
    lie in several splits.

    Args:
        split: ``'train'`` (1,085 images), ``'val'`` (357), ``'trainval'`` (1,442) or ``'test'``
            (355).
        channels: 1, or 3 for the grey value repeated.
        **kwargs: ``pipeline``, ``indices``, ``metainfo``, ``test_mode`` and others of MMPretrain's
            ``BaseDataset``.

    Raises:
        ValueError: the split or the number of channels is unknown.

    Examples:
        >>> data = Digits('val')
        >>> len(data), data[0]['img'].shape, data[0]['gt_label']
        (357, (8, 8, 1), 0)
    """

    METAINFO: ClassVar[dict[str, Any]] = {'classes': tuple('0123456789')}

    def __init__(self, split: str = 'train', channels: int = 1, **kwargs: Any) -> None:
        if split not in PARTS:
            raise ValueError(f'Digits: split must be one of {tuple(PARTS)}, got {split!r}')
        if channels not in (1, 3):
            raise ValueError(f'Digits: channels must be 1 or 3, got {channels}')
        self.split = split
        self.channels = channels
        super().__init__(**{'ann_file': '', **kwargs})

    def load_data_list(self) -> list[dict[str, Any]]:
        """One ``img`` and ``gt_label`` a sample, in file order."""
        digits = source()
        chosen = split_indices(digits.target, self.split)
        images = np.rint(digits.images[chosen] * (255 / 16)).astype(np.uint8)
        images = np.repeat(images[..., None], self.channels, axis=-1)
        return [
            {'img': image, 'gt_label': int(label)}
            for image, label in zip(images, digits.target[chosen], strict=True)
        ]

    def extra_repr(self) -> list[str]:
        """The split, for ``repr``."""
        return [f'Split: \t{self.split}']
