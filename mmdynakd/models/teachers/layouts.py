"""Recognise the layout of a checkpoint by its keys and translate it to MMPretrain's names."""
from collections.abc import Mapping

import torch

SHOWN = 8  # keys listed per group in a message


class LayoutError(ValueError):
    """The content of a checkpoint is no state dict for the model at hand."""


def recognise(payload: object) -> tuple[str, dict[str, torch.Tensor]]:
    """Find the weights in what a checkpoint file holds, under MMPretrain's names.

    The weights lie under ``'state_dict'`` (MMEngine), under ``'model'`` (the public CIFAR lineage) or at the
    top ("bare"). Names are MMPretrain's (``backbone.*``, ``head.*``) or plain (``conv1.*``, ``fc.*``); plain
    ``fc.*`` becomes ``head.fc.*`` and every other plain name goes under ``backbone.``. A ``module.`` in
    front, left by a parallel wrapper, is dropped, and so are ``data_preprocessor.*`` entries.

    Args:
        payload: The object the file holds.

    Returns:
        ``'{state_dict|model|bare}/{mmpretrain|plain}'`` and the translated state dict.

    Raises:
        LayoutError: If it is no dict, holds no tensors, or holds two tensors that come to the same name.
    """
    if not isinstance(payload, Mapping):
        raise LayoutError(f'holds a {type(payload).__name__}, where a dict of tensors is needed')
    container = next(
        (key for key in ('state_dict', 'model') if isinstance(payload.get(key), Mapping)), 'bare')
    entries = payload if container == 'bare' else payload[container]
    named = [(str(key).removeprefix('module.'), value) for key, value in entries.items()
             if isinstance(value, torch.Tensor)]
    if not named:
        listed = ', '.join(sorted(map(str, entries))[:SHOWN]) or 'none'
        raise LayoutError(f'holds no tensors (its keys: {listed})')
    plain = not any(key.startswith(('backbone.', 'head.')) for key, _ in named)
    weights: dict[str, torch.Tensor] = {}
    for key, value in named:
        if key.startswith('data_preprocessor.'):
            continue
        key = _plain_to_mmpretrain(key) if plain else key
        if key in weights:
            raise LayoutError(f'holds two tensors for {key!r}, with and without a "module." in front')
        weights[key] = value
    return f'{container}/{"plain" if plain else "mmpretrain"}', weights


def match(weights: Mapping, own: Mapping) -> dict[str, torch.Tensor]:
    """Check that ``weights`` fit the model whose state dict is ``own``, name by name and shape by shape.

    A missing ``num_batches_tracked`` (files from before PyTorch 0.4.1 lack it, and evaluation does not read
    it) and entries of the model's ``data_preprocessor.*`` keep the model's own value.

    Args:
        weights: The translated state dict of the file.
        own: The model's ``state_dict()``.

    Returns:
        A complete state dict for ``load_state_dict(…, strict=True)``.

    Raises:
        LayoutError: If a name is missing or unexpected or a shape differs; the message lists them.
    """
    optional = {key for key in own
                if key.endswith('num_batches_tracked') or key.startswith('data_preprocessor.')}
    missing = [key for key in own if key not in weights and key not in optional]
    unexpected = [key for key in weights if key not in own]
    misshaped = [f'{key} {tuple(weights[key].shape)}, the model has {tuple(own[key].shape)}' for key in own
                 if key in weights and weights[key].shape != own[key].shape]
    groups = [_group(label, keys) for label, keys in
              (('missing', missing), ('unexpected', unexpected), ('of another shape', misshaped)) if keys]
    if groups:
        raise LayoutError('is of another architecture than the model: ' + '; '.join(groups))
    return {key: weights.get(key, value) for key, value in own.items()}


def _plain_to_mmpretrain(key: str) -> str:
    return f'head.{key}' if key.startswith('fc.') else f'backbone.{key}'


def _group(label: str, keys: list[str]) -> str:
    more = f', and {len(keys) - SHOWN} more' if len(keys) > SHOWN else ''
    return f'{len(keys)} {label} ({", ".join(keys[:SHOWN])}{more})'
