"""Recognise the layout of a checkpoint by its keys and shapes, and fit it to the model at hand."""

from collections.abc import Mapping

import torch

from .containers import SHOWN, LayoutError, unpack
from .naming import rename

__all__ = ['LayoutError', 'match', 'recognise']


def recognise(
    payload: object, own: Mapping, part: str | None = None
) -> tuple[str, dict[str, torch.Tensor]]:
    """Find the weights for a model in what a checkpoint file holds, under the model's names.

    Args:
        payload: The object the file holds, see :func:`~mmdynakd.models.teachers.containers.unpack`.
        own: The model's ``state_dict()``.
        part: Which network is meant, where the file holds several.

    Returns:
        ``'{state_dict|model|bare|…}[/{part}]/{mmpretrain|plain|same}'``, see
        :func:`~mmdynakd.models.teachers.naming.rename`, and the state dict under the model's names.

    Raises:
        LayoutError: If it holds no weights, no such part, or two tensors that come to the same
            name.
    """
    container, weights = unpack(payload, part)
    naming, weights = rename(weights, own)
    return f'{container}/{naming}', weights


def match(weights: Mapping, own: Mapping) -> dict[str, torch.Tensor]:
    """Check that ``weights`` fit the model whose state dict is ``own``, name by name and shape by
    shape.

    A missing ``num_batches_tracked`` (files from before PyTorch 0.4.1 lack it, and evaluation does
    not read it) and entries of the model's ``data_preprocessor.*`` keep the model's own value.

    Args:
        weights: The translated state dict of the file.
        own: The model's ``state_dict()``.

    Returns:
        A complete state dict for ``load_state_dict(…, strict=True)``.

    Raises:
        LayoutError: If a name is missing or unexpected or a shape differs; the message lists them,
            and says where only the number of classes differs.
    """
    optional = {
        key
        for key in own
        if key.endswith('num_batches_tracked') or key.startswith('data_preprocessor.')
    }
    missing = [key for key in own if key not in weights and key not in optional]
    unexpected = [key for key in weights if key not in own]
    misshaped = [key for key in own if key in weights and weights[key].shape != own[key].shape]
    if missing or unexpected or misshaped:
        shapes = [
            f'{key} {tuple(weights[key].shape)}, the model has {tuple(own[key].shape)}'
            for key in misshaped
        ]
        listed = '; '.join(
            _group(label, keys)
            for label, keys in (
                ('missing', missing),
                ('unexpected', unexpected),
                ('of another shape', shapes),
            )
            if keys
        )
        classes = _classes(
            [(tuple(weights[key].shape), tuple(own[key].shape)) for key in misshaped]
        )
        raise LayoutError(_verdict(classes, not missing and not unexpected) + listed)
    return {key: weights.get(key, value) for key, value in own.items()}


def _classes(shapes: list[tuple[tuple, tuple]]) -> tuple[int, int] | None:
    """The file's and the model's number of classes, if they alone make all these shapes differ."""
    ends = {
        (theirs[0], ours[0])
        for theirs, ours in shapes
        if theirs and ours and theirs[1:] == ours[1:] and len(theirs) <= 2
    }
    return ends.pop() if len(ends) == 1 and len(shapes) <= 2 else None


def _verdict(classes: tuple[int, int] | None, alike: bool) -> str:
    if classes is None:
        return 'is of another architecture than the model: '
    counts = f'{classes[0]} classes, the model has {classes[1]}'
    if alike:
        return f"has {counts} (set its head's num_classes, or take another checkpoint): "
    return f'is of another architecture than the model (and has {counts}): '


def _group(label: str, keys: list[str]) -> str:
    more = f', and {len(keys) - SHOWN} more' if len(keys) > SHOWN else ''
    return f'{len(keys)} {label} ({", ".join(keys[:SHOWN])}{more})'
