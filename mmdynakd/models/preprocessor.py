"""MMPretrain's preprocessor for whole batches: augmentation and normalization on the device."""

from collections.abc import Mapping
from typing import Any

import torch
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample

from mmdynakd.functional import crop_flip
from mmdynakd.registry import MODELS

from .samples import BatchViews, Samples


@MODELS.register_module()
class BatchPreprocessor(ClsDataPreprocessor):
    """MMPretrain's ``ClsDataPreprocessor`` that also takes batches of ``mmdynakd.ArrayDataset``.

    Such a batch goes to the device as bytes. In training it is cropped and flipped there; then it
    is treated as the parent treats any batch. Its data samples are :class:`Samples`.

    Other batches go to the parent unchanged, with one exception: if their samples have the tags of
    ``mmdynakd.Views``, they are returned as :class:`Samples` with their views.

    Samples have no views where views do not determine the pixels: where batch augmentations mix
    the images, and in evaluation of a batch that came with crops, as those are not applied then.

    Args:
        *args: Arguments of ``ClsDataPreprocessor``.
        **kwargs: Arguments of ``ClsDataPreprocessor``: ``mean``, ``std``, ``to_rgb`` and so on.

    Examples:
        In a config: ``data_preprocessor=dict(type='mmdynakd.BatchPreprocessor', mean=…, std=…)``

        >>> preprocessor = BatchPreprocessor(mean=[1.0] * 3, std=[2.0] * 3)
        >>> images = torch.full((2, 3, 4, 4), 5, dtype=torch.uint8)
        >>> batch = preprocessor(dict(inputs=images, labels=torch.tensor([0, 1])))
        >>> batch['inputs'][0, 0, 0, 0].item(), batch['data_samples'].labels.tolist()
        (2.0, [0, 1])
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._shared: dict[torch.device, dict[int, DataSample]] = {}

    def forward(self, data: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Preprocess a batch. The batch itself is not changed.

        Args:
            data: ``inputs`` and ``data_samples`` as MMPretrain's, or a batch of
                ``mmdynakd.ArrayDataset``.
            training: Whether to augment.

        Returns:
            ``inputs``, (B, C, H, W) floats, and ``data_samples``.
        """
        pure = not (training and self.batch_augments is not None)
        if isinstance(data.get('labels'), torch.Tensor):
            return self._forward_batch(data, training, pure)
        out: dict[str, Any] = super().forward(data, training)
        samples = out['data_samples']
        views = tagged_views(samples) if pure else None
        if views is not None:
            out['data_samples'] = Samples(samples, single_labels(samples), views)
        return out

    def _forward_batch(self, data: Mapping[str, Any], training: bool, pure: bool) -> dict[str, Any]:
        inputs, labels = self._moved(data['inputs']), self._moved(data['labels'])
        if training and 'crop' in data:
            inputs = crop_flip(
                inputs, self._moved(data['crop']), self._moved(data['flip']), data['padding']
            )
        # Evaluation writes into the samples, and scores differ from image to image: then each image
        # needs its own sample.
        if training and not self.to_onehot:
            inputs, items = self._normalized(inputs), self._share(data['labels'], labels)
        else:
            items = [DataSample().set_gt_label(label) for label in labels.unsqueeze(1).unbind()]
            inputs = super().forward(dict(inputs=inputs, data_samples=items), training)['inputs']
        pure = pure and (training or 'crop' not in data)
        views = BatchViews(**data['views']) if pure and 'views' in data else None
        return dict(inputs=inputs, data_samples=Samples(items, labels, views))

    def _moved(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.device, non_blocking=True)

    def _normalized(self, inputs: torch.Tensor) -> torch.Tensor:
        """The parent's numbers, bit for bit; bytes become floats once, the rest is in place."""
        if inputs.dtype != torch.uint8 or self.pad_size_divisor > 1:
            normalized: torch.Tensor = super().forward(dict(inputs=inputs))['inputs']
            return normalized
        if self.to_rgb and inputs.size(1) == 3:
            inputs = inputs.flip(1)
        inputs = inputs.float()
        return inputs.sub_(self.mean).div_(self.std) if hasattr(self, 'mean') else inputs

    def _share(self, labels: torch.Tensor, moved: torch.Tensor) -> list[DataSample]:
        """One sample for each class: making one for each image takes longer than all the rest."""
        known, classes = self._shared.setdefault(moved.device, {}), labels.tolist()
        for label in set(classes).difference(known):
            row = classes.index(label)
            known[label] = DataSample().set_gt_label(moved[row : row + 1].clone())
        return [known[label] for label in classes]


def tagged_views(samples: list[DataSample] | None) -> BatchViews | None:
    """Read the views that samples are tagged with, see ``mmdynakd.Views``.

    Args:
        samples: The B samples of a batch.

    Returns:
        Their views. None unless all have one, of the same source.

    Examples:
        >>> tags = dict(view=7, view_source='cifar', view_size=5)
        >>> tagged_views([DataSample(metainfo=tags)])
        BatchViews(source='cifar', size=5, ids=tensor([7]))
        >>> tagged_views([DataSample(metainfo=tags), DataSample()]) is None
        True
    """
    if not samples or not isinstance(samples[0], DataSample) or 'view' not in samples[0]:
        return None
    sources = {(sample.get('view_source'), sample.get('view_size')) for sample in samples}
    ids = [sample.get('view') for sample in samples]
    if len(sources) > 1 or None in ids or None in next(iter(sources)):
        return None
    return BatchViews(*sources.pop(), torch.tensor(ids, dtype=torch.int64))


def single_labels(samples: list[DataSample]) -> torch.Tensor | None:
    """Collect the labels of samples.

    Args:
        samples: The B samples of a batch.

    Returns:
        (B,) class indices. None unless each sample has exactly one label.

    Examples:
        >>> single_labels([DataSample().set_gt_label(3), DataSample().set_gt_label(1)])
        tensor([3, 1])
    """
    labels = [sample.get('gt_label') for sample in samples]
    if any(label is None or label.numel() != 1 for label in labels):
        return None
    return torch.cat([label.reshape(1) for label in labels])
