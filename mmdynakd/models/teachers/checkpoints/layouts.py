"""Recognise the layout of a checkpoint by its keys and shapes, and fit it to a model."""

from collections.abc import Collection, Mapping

import torch

from mmdynakd.registry import CHECKPOINT_LAYOUTS

from .containers import SHOWN, LayoutError, Weights, unpack
from .naming import rename

__all__ = ['LayoutError', 'match', 'recognise']


def recognise(
    payload: object, own: Collection[str], part: str | None = None
) -> tuple[str, Weights]:
    """Find the weights of a model in what a checkpoint file holds, and give them its names.

    Layouts that a plugin has registered in ``mmdynakd.registry.CHECKPOINT_LAYOUTS`` come first, in
    the order of their registration. Each is a function of this one's arguments that returns the
    state dict with the model's names, or None if the file is not of its kind.

    Args:
        payload: The object that the file holds, see
            :func:`~mmdynakd.models.teachers.checkpoints.containers.unpack`.
        own: The model's ``state_dict()``, or its names.
        part: Which network is meant, if the file holds several.

    Returns:
        The layout, and the state dict with the model's names. The layout is the name of a
        registered one or ``'{state_dict|model|bare|…}[/{part}]/{mmpretrain|plain|same}'``, see
        :func:`~mmdynakd.models.teachers.checkpoints.naming.rename`.

    Raises:
        LayoutError: If the file holds no weights, no such part, or two tensors that get the same
            name.

    Examples:
        >>> payload = {'model': {'fc.bias': torch.zeros(10)}}
        >>> layout, weights = recognise(payload, own=['backbone.conv1.weight', 'head.fc.bias'])
        >>> layout, list(weights)
        ('model/plain', ['head.fc.bias'])
    """
    for layout, read in CHECKPOINT_LAYOUTS.module_dict.items():
        found = read(payload, own, part)
        if found is not None:
            return layout, dict(found)
    container, weights = unpack(payload, part)
    naming, weights = rename(weights, own)
    return f'{container}/{naming}', weights


def match(weights: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> Weights:
    """Check that weights fit a model, name by name and shape by shape.

    Two kinds of entries may be missing and keep the model's value: ``num_batches_tracked``, which
    files from before PyTorch 0.4.1 lack and evaluation does not read, and the model's
    ``data_preprocessor.*``.

    Args:
        weights: The file's state dict, with the model's names.
        own: The model's ``state_dict()``.

    Returns:
        A complete state dict for ``load_state_dict(…, strict=True)``.

    Raises:
        LayoutError: If a name is missing or unexpected, or a shape differs. The message lists
            them, and says so if only the number of classes differs.

    Examples:
        >>> own = {'head.fc.bias': torch.zeros(10)}
        >>> match({'head.fc.bias': torch.ones(10)}, own)['head.fc.bias'].sum().item()
        10.0
        >>> match({'head.fc.weight': torch.ones(10)}, own)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        LayoutError: is of another architecture than ...
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


Shape = tuple[int, ...]


def _classes(shapes: list[tuple[Shape, Shape]]) -> tuple[int, int] | None:
    """The file's and the model's number of classes, if nothing else makes these shapes differ."""
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
