"""What the CIFAR backbones have in common."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import torch
from torch import nn

Features = tuple[torch.Tensor, ...]  # one (B, C, H, W) tensor for each stage that was asked for
InitCfg = dict[str, Any] | list[dict[str, Any]] | None
# MMEngine's Kaiming draws from a normal distribution unless told otherwise.
HE_NORMAL: list[dict[str, Any]] = [
    {'type': 'Kaiming', 'layer': 'Conv2d', 'mode': 'fan_out', 'nonlinearity': 'relu'},
    {'type': 'Constant', 'layer': '_BatchNorm', 'val': 1, 'bias': 0},
]


def rising_stages(name: str, out_indices: Sequence[int], stages: int) -> tuple[int, ...]:
    """Check the stages that a backbone is asked to return.

    Args:
        name: The backbone, for the message.
        out_indices: The stages asked for.
        stages: The number of stages that the backbone has.

    Returns:
        ``out_indices`` as a tuple.

    Raises:
        ValueError: If it is empty, not in rising order, or names a stage outside
            ``0..stages - 1``.

    Examples:
        >>> rising_stages('CifarResNet', [0, 2], stages=3)
        (0, 2)
        >>> rising_stages('CifarResNet', [2, 0], stages=3)
        Traceback (most recent call last):
        ValueError: CifarResNet: out_indices must be rising stages out of (0, 1, 2), got (2, 0)
    """
    known, given = tuple(range(stages)), tuple(out_indices)
    if not given or given != tuple(i for i in known if i in given):
        raise ValueError(f'{name}: out_indices must be rising stages out of {known}, got {given}')
    return given


def known_choice(name: str, key: str, value: object, choices: Collection[Any]) -> None:
    """Check an argument that has a fixed set of values.

    Args:
        name: The backbone, for the message.
        key: The argument, for the message.
        value: The value given.
        choices: The values allowed.

    Raises:
        ValueError: If ``value`` is not one of ``choices``; the message lists them.

    Examples:
        >>> known_choice('CifarVGG', 'depth', 12, [8, 11])
        Traceback (most recent call last):
        ValueError: CifarVGG: depth must be one of [8, 11], got 12
    """
    if value not in choices:
        raise ValueError(f'{name}: {key} must be one of {sorted(choices)}, got {value}')


def run_stages(
    x: torch.Tensor, stages: Iterable[nn.Module], out_indices: Sequence[int]
) -> Features:
    """Run stages one after the other and return some of their outputs.

    Args:
        x: The input of the first stage, ``(B, C, H, W)``.
        stages: The stages, in order.
        out_indices: The stages whose outputs are wanted.

    Returns:
        The outputs of those stages, in order.

    Examples:
        >>> halve = torch.nn.AvgPool2d(2)
        >>> outputs = run_stages(torch.zeros(1, 3, 8, 8), [halve, halve, halve], (0, 2))
        >>> [tuple(output.shape) for output in outputs]
        [(1, 3, 4, 4), (1, 3, 1, 1)]
    """
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
    """Make a convolution without bias, its batch norm and its activation, as a flat list.

    The list is flat because public checkpoints number these layers through. At stride 1 the
    convolution keeps the height and the width.

    Args:
        in_channels: Channels before the convolution.
        out_channels: Channels after it.
        kernel_size: Side of the kernel, odd.
        stride: Stride in both directions.
        groups: Groups of the convolution.
        act: Class of the activation; None for none.

    Returns:
        Two layers, or three with the activation.

    Examples:
        >>> [type(layer).__name__ for layer in conv_bn(3, 16, kernel_size=3)]
        ['Conv2d', 'BatchNorm2d', 'ReLU']
    """
    padding = kernel_size // 2
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False
    )
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(out_channels)]
    return layers if act is None else [*layers, act()]
