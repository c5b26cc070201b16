"""The data set inside one of ours: what is asked of it, and how it is built."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mmdynakd.registry import DATASETS

Item = dict[str, Any]
Labels = npt.NDArray[np.int64]


class Source(Protocol):
    """A data set that others wrap, such as one of MMEngine's ``BaseDataset``.

    Examples:
        See :func:`as_image_files`, which asks it.
    """

    @property
    def metainfo(self) -> Mapping[str, Any]:
        """Class names and the like."""

    def full_init(self) -> None:
        """Loads what the data set needs, once."""

    def get_data_info(self, index: int) -> Item:
        """One sample before the pipeline: image or path, and label."""

    def get_gt_labels(self) -> Labels:
        """(N,) classes."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Item: ...


def built(dataset: Source | Mapping[str, Any]) -> Source:
    """Builds a data set from its config; passes on one that is built already.

    Examples:
        >>> len(built(dict(type='mmdynakd.Digits', split='val')))
        357
    """
    if isinstance(dataset, Mapping):
        found: Source = DATASETS.build(dataset)
        return found
    return dataset


def as_image_files(config: Mapping[str, Any]) -> dict[str, Any]:
    """What to change in a data set's config so that channels are ordered as in image files.

    MMPretrain reads image files as BGR. A data set whose arrays are ordered otherwise says so by a
    class method ``as_image_files(config)``, as :meth:`.CIFAR100.as_image_files` does.

    Args:
        config: of any data set, its ``type`` looked up as a Runner would.

    Returns:
        Arguments to set; empty if nothing needs to change.

    Examples:
        >>> as_image_files(dict(type='mmdynakd.CIFAR100'))
        {'channel_order': 'bgr'}
        >>> as_image_files(dict(type='mmdynakd.Digits'))
        {}
    """
    kind = config.get('type')
    if isinstance(kind, str):
        with DATASETS.switch_scope_and_registry(None) as registry:
            kind = registry.get(kind)
    said: dict[str, Any] = getattr(kind, 'as_image_files', lambda config: {})(config)
    return said
