"""MMPretrain's preprocessor for whole batches: augmentation, colour order and normalisation on the
training device.
"""

from collections.abc import Mapping

import torch
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample

from mmdynakd.functional import crop_flip
from mmdynakd.registry import MODELS

from .samples import BatchViews, Samples


@MODELS.register_module()
class BatchPreprocessor(ClsDataPreprocessor):
    """MMPretrain's ``ClsDataPreprocessor``, same arguments, that also takes the batches of
    ``mmdynakd.ArrayDataset``.

    Such a batch goes to the device as bytes, is cropped and flipped there in training, then treated
    as its parent treats any batch; its data samples are :class:`Samples`. Other batches are the
    parent's alone, except that samples with the tags of ``mmdynakd.Views`` are handed on as
    :class:`Samples` with their views. Where batch augmentations mix the images, or a crop is not
    done (not in training), there are no views.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._shared: dict[torch.device, dict[int, DataSample]] = {}

    def forward(self, data: Mapping, training: bool = False) -> dict:
        """Preprocesses a batch, which is left as it was.

        Args:
            data: ``inputs`` and ``data_samples`` as MMPretrain's, or a batch of
                ``mmdynakd.ArrayDataset``.
            training: whether to augment.

        Returns:
            ``inputs``, (B, C, H, W) floats, and ``data_samples``.
        """
        pure = not (training and self.batch_augments is not None)
        if isinstance(data.get('labels'), torch.Tensor):
            return self._forward_batch(data, training, pure)
        data = super().forward(data, training)
        views = tagged_views(data['data_samples']) if pure else None
        if views is not None:
            data['data_samples'] = Samples(
                data['data_samples'], single_labels(data['data_samples']), views
            )
        return data

    def _forward_batch(self, data: Mapping, training: bool, pure: bool) -> dict:
        inputs, labels = self._moved(data['inputs']), self._moved(data['labels'])
        if training and 'crop' in data:
            inputs = crop_flip(
                inputs, self._moved(data['crop']), self._moved(data['flip']), data['padding']
            )
        # Evaluation writes into the samples, and scores differ from image to image: each has a
        # sample of its own then.
        if training and not self.to_onehot:
            inputs, items = self._normalized(inputs), self._share(data['labels'], labels)
        else:
            items = [DataSample().set_gt_label(label) for label in labels.split(1)]
            inputs = super().forward(dict(inputs=inputs, data_samples=items), training)['inputs']
        pure = pure and (training or 'crop' not in data)
        views = BatchViews(**data['views']) if pure and 'views' in data else None
        return dict(inputs=inputs, data_samples=Samples(items, labels, views))

    def _moved(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.device, non_blocking=True)

    def _normalized(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the parent does to a batch's pixels, number for number, in place from bytes to the
        end.
        """
        if inputs.dtype != torch.uint8 or self.pad_size_divisor > 1:
            return super().forward(dict(inputs=inputs))['inputs']
        if self.to_rgb and inputs.size(1) == 3:
            inputs = inputs.flip(1)
        inputs = inputs.float()
        return inputs.sub_(self.mean).div_(self.std) if self._enable_normalize else inputs

    def _share(self, labels: torch.Tensor, moved: torch.Tensor) -> list[DataSample]:
        """One sample object a class: building one an image takes longer than all the rest."""
        known, labels = self._shared.setdefault(moved.device, {}), labels.tolist()
        for label in set(labels).difference(known):
            row = labels.index(label)
            known[label] = DataSample().set_gt_label(moved[row : row + 1].clone())
        return [known[label] for label in labels]


def tagged_views(samples: list | None) -> BatchViews | None:
    """The views that samples are tagged with; None unless all are, with one source."""
    if not samples or not isinstance(samples[0], DataSample) or 'view' not in samples[0]:
        return None
    sources = {(sample.get('view_source'), sample.get('view_size')) for sample in samples}
    ids = [sample.get('view') for sample in samples]
    if len(sources) > 1 or None in ids or None in next(iter(sources)):
        return None
    return BatchViews(*sources.pop(), torch.tensor(ids, dtype=torch.int64))


def single_labels(samples: list[DataSample]) -> torch.Tensor | None:
    """(B,) class indices of samples; None unless each has one."""
    labels = [sample.get('gt_label') for sample in samples]
    if any(label is None or label.numel() != 1 for label in labels):
        return None
    return torch.cat([label.reshape(1) for label in labels])
