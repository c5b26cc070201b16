"""Where in a checkpoint file the weights lie, and which of several networks in it is meant."""

import re
from collections.abc import Mapping

import torch

SHOWN = 8  # keys listed per group in a message
CONTAINERS = ('state_dict', 'model')
# An average of the weights, or what an average was swapped with: taken only if asked for.
AVERAGES = ('ema_state_dict', 'state_dict_ema', 'ema_model', 'model_ema')
WRAPPERS = re.compile(
    r'^(?:module\.|_orig_mod\.)+'
)  # left by parallel training and by torch.compile
PART = re.compile(r'^(?:(architecture|student|teacher)|lanes\.([^.]+)\.student)\.(.+)$')

Weights = dict[str, torch.Tensor]


class LayoutError(ValueError):
    """The content of a checkpoint is no state dict for the model at hand."""


def unpack(payload: object, part: str | None = None) -> tuple[str, Weights]:
    """Find the weights of one network in what a checkpoint file holds.

    They lie under ``'state_dict'`` (MMEngine, timm), ``'model'`` (RepDistiller, mdistiller,
    DIST_KD) or at the top ("bare"), with or without ``module.`` in front. There may be several:
    MMRazor's ``architecture.*`` (the student) and ``teacher.*``, mdistiller's ``student.*`` and
    ``teacher.*``, DynaKD's ``lanes.<lane>.student.*``.

    Args:
        payload: The object the file holds.
        part: ``'student'``, ``'teacher'``, the name of a lane, or the key of an average, such as
            ``'ema_state_dict'``. None takes the only network there is.

    Returns:
        What was taken, ``'{container}'`` or ``'{container}/{part}'``, and its weights.

    Raises:
        LayoutError: If it is no dict, holds no tensors, has no such part, or several and ``part``
            is None.
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
        weights.pop('steps', None)  # MMEngine's count of updates
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
    """The keys of ``payload`` that hold an average of the weights (or what it was swapped with)."""
    return (
        [key for key in AVERAGES if _filled(payload, key)] if isinstance(payload, Mapping) else []
    )


def _filled(payload: Mapping, key: str) -> bool:
    return isinstance(payload.get(key), Mapping)


def _tensors(entries: Mapping) -> Weights:
    weights: Weights = {}
    for key, value in entries.items():
        if not isinstance(value, torch.Tensor):
            continue
        name = WRAPPERS.sub('', str(key))
        if name in weights:
            raise LayoutError(
                f'holds two tensors for {name!r}, with and without a "module." in front'
            )
        weights[name] = value
    if not weights:
        listed = ', '.join(sorted(map(str, entries))[:SHOWN]) or 'none'
        raise LayoutError(f'holds no tensors (its keys: {listed})')
    return weights


def _networks(weights: Weights) -> dict[str, Weights]:
    """The weights by network; connectors, θ and the like belong to none."""
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
    problem = 'holds several networks' if part is None else f'holds no part {part!r}'
    raise LayoutError(
        f'{problem}: say which with checkpoint=dict(path=…, part=…), one of {", ".join(networks)}'
    )
