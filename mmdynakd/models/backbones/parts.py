"""What the CIFAR backbones have in common."""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

HE_NORMAL = [
    {
        'type': 'Kaiming',
        'layer': 'Conv2d',
        'mode': 'fan_out',
        'nonlinearity': 'relu',
    },  # normal by default
    {'type': 'Constant', 'layer': '_BatchNorm', 'val': 1, 'bias': 0},
]


def rising_stages(name: str, out_indices: Sequence[int], stages: int) -> tuple[int, ...]:
    """``out_indices`` as a tuple.

    Raises:
        ValueError: If it is empty, not rising, or names a stage outside ``0..stages - 1``.
    """
    known, given = tuple(range(stages)), tuple(out_indices)
    if not given or given != tuple(i for i in known if i in given):
        raise ValueError(f'{name}: out_indices must be rising stages out of {known}, got {given}')
    return given


def known_choice(name: str, key: str, value: object, choices: Iterable) -> None:
    """Raise a ValueError that lists ``choices`` if ``value`` is none of them."""
    if value not in tuple(choices):
        raise ValueError(f'{name}: {key} must be one of {sorted(choices)}, got {value}')


def run_stages(
    x: torch.Tensor, stages: Iterable[nn.Module], out_indices: Sequence[int]
) -> tuple[torch.Tensor, ...]:
    """Apply ``stages`` one after the other and return the outputs of those in ``out_indices``."""
    outputs = []
    for index, stage in enumerate(stages):
        x = stage(x)
        if index in out_indices:
            outputs.append(x)
    return tuple(outputs)


def conv_bn(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 1,
    stride: int = 1,
    groups: int = 1,
    act: type[nn.Module] | None = nn.ReLU,
) -> list[nn.Module]:
    """A "same" convolution without bias, batch norm and, unless ``act`` is None, the activation."""
    layers = [
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            kernel_size // 2,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(out_channels),
    ]
    return layers if act is None else [*layers, act()]


def shuffle_channels(x: torch.Tensor, groups: int) -> torch.Tensor:
    """Deal the channels of ``groups`` equal groups out in turn: ``(B, C, H, W)`` to the same shape."""
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)
