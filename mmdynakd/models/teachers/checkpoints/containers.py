"""Where the weights are in a checkpoint file, and which of its networks is meant."""

import re
from collections.abc import Mapping
from typing import Any

import torch

SHOWN = 8  # keys listed in each group of a message
CONTAINERS = ('state_dict', 'model')
# An average of the weights, or the weights that it was swapped with: only taken on request.
AVERAGES = ('ema_state_dict', 'state_dict_ema', 'ema_model', 'model_ema')
# Left over from parallel training and from torch.compile.
WRAPPERS = re.compile(r'^(?:module\.|_orig_mod\.)+')
PART = re.compile(r'^(?:(architecture|student|teacher)|lanes\.([^.]+)\.student)\.(.+)$')

Weights = dict[str, torch.Tensor]


class LayoutError(ValueError):
    """The content of a checkpoint is not a state dict of the model at hand.

    Examples:
        >>> raise LayoutError('holds no tensors (its keys: epoch)')
        Traceback (most recent call last):
        LayoutError: holds no tensors (its keys: epoch)
    """


def unpack(payload: object, part: str | None = None) -> tuple[str, Weights]:
    """Find the weights of one network in what a checkpoint file holds.

    They are under ``'state_dict'`` (MMEngine, timm), under ``'model'`` (RepDistiller, mdistiller,
    DIST_KD) or at the top level ("bare"). Names may start with ``module.``. A file may hold several
    networks: MMRazor's ``architecture.*`` (the student) and ``teacher.*``, mdistiller's
    ``student.*`` and ``teacher.*``, or DynaKD's ``lanes.<lane>.student.*``.

    Args:
        payload: The object that the file holds.
        part: ``'student'``, ``'teacher'``, the name of a lane, or the key of an average, for
            example ``'ema_state_dict'``. None takes the only network.

    Returns:
        What was taken, ``'{container}'`` or ``'{container}/{part}'``, and its weights.

    Raises:
        LayoutError: If the payload is not a dict, holds no tensors, has no such part, or has
            several and ``part`` is None.

    Examples:
        >>> unpack({'model': {'module.fc.bias': torch.zeros(1)}, 'epoch': 240})
        ('model', {'fc.bias': tensor([0.])})
        >>> both = {'student.fc.bias': torch.zeros(1), 'teacher.fc.bias': torch.ones(1)}
        >>> unpack({'state_dict': both}, part='teacher')
        ('state_dict/teacher', {'fc.bias': tensor([1.])})
    """
    if not isinstance(payload, Mapping):
        raise LayoutError(f'holds a {type(payload).__name__}, where a dict of tensors is needed')
    averages = averages_in(payload)
    container = (
        part
        if part in averages
        else next((key for key in CONTAINERS if _filled(payload, key)), 'bare')
    )
    weights = _tensors(payload if container == 'bare' else payload[container])
    if container in averages:
        weights.pop('steps', None)  # MMEngine counts updates here
        part = None
    networks = _networks(weights)
    if not networks:
        if part is not None:
            choice = f'one of {", ".join(averages)}, or ' if averages else ''
            raise LayoutError(f'holds one network, no part {part!r}: give {choice}no part')
        return container, weights
    name = _choose(networks, part)
    return f'{container}/{name}', networks[name]


def averages_in(payload: object) -> list[str]:
    """List the keys that hold an average of the weights, or the weights it was swapped with.

    Args:
        payload: The object that a checkpoint file holds.

    Examples:
        >>> averages_in({'state_dict': {}, 'ema_state_dict': {}})
        ['ema_state_dict']
    """
    if not isinstance(payload, Mapping):
        return []
    return [key for key in AVERAGES if _filled(payload, key)]


def _filled(payload: Mapping[Any, Any], key: str) -> bool:
    return isinstance(payload.get(key), Mapping)


def _tensors(entries: Mapping[Any, Any]) -> Weights:
    weights: Weights = {}
    for key, value in entries.items():
        if not isinstance(value, torch.Tensor):
            continue
        name = WRAPPERS.sub('', str(key))
        if name in weights:
            raise LayoutError(
                f'holds two tensors for {name!r}: one with "module." in front, one without'
            )
        weights[name] = value
    if not weights:
        listed = ', '.join(sorted(map(str, entries))[:SHOWN]) or 'none'
        raise LayoutError(f'holds no tensors (its keys: {listed})')
    return weights


def _networks(weights: Weights) -> dict[str, Weights]:
    """The weights of each network. Connectors, θ and the like belong to none."""
    networks: dict[str, Weights] = {}
    for key, value in weights.items():
        found = PART.match(key)
        if found:
            outer, lane, rest = found.groups()
            name = lane or ('student' if outer == 'architecture' else outer)
            networks.setdefault(name, {})[WRAPPERS.sub('', rest)] = value
    return networks


def _choose(networks: dict[str, Weights], part: str | None) -> str:
    if part in networks:
        return part
    if len(networks) == 1 and (part is None or (part == 'student' and 'teacher' not in networks)):
        return next(iter(networks))
    problem = 'holds several networks' if part is None else f'has no part {part!r}'
    raise LayoutError(
        f'{problem}: say which with checkpoint=dict(path=…, part=…), one of {", ".join(networks)}'
    )
