"""Wide residual networks for 32x32 images, in the two forms that public checkpoints have."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import nn

from mmdynakd.registry import MODELS

from .parts import HE_NORMAL, Features, InitCfg, rising_stages, run_stages


class PreActivationBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions, and a shortcut.

    Where the number of channels changes, the shortcut is a 1x1 convolution of the activated input;
    elsewhere it is the input itself. Dropout comes before the second convolution.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of the first convolution and of the shortcut.
        drop_rate: Probability of dropout, in [0, 1).

    Examples:
        >>> tuple(PreActivationBlock(16, 32, stride=2)(torch.zeros(1, 16, 8, 8)).shape)
        (1, 32, 4, 4)
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, drop_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.drop_rate = drop_rate
        self.convShortcut = None  # the name in public checkpoints
        if in_channels != out_channels:
            self.convShortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, H / stride, W / stride)``."""
        active = F.relu(self.bn1(x))
        shortcut: torch.Tensor = x if self.convShortcut is None else self.convShortcut(active)
        out = F.relu(self.bn2(self.conv1(active)))
        residual: torch.Tensor = self.conv2(F.dropout(out, self.drop_rate, self.training))
        return shortcut + residual


class RawShortcutBlock(nn.Module):
    """A :class:`PreActivationBlock` whose 1x1 shortcut takes the raw input.

    That is the input before batch norm and ReLU. Dropout comes right after the first convolution.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of the first convolution and of the shortcut.
        drop_rate: Probability of dropout, in [0, 1).

    Examples:
        >>> tuple(RawShortcutBlock(16, 32, stride=2)(torch.zeros(1, 16, 8, 8)).shape)
        (1, 32, 4, 4)
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, drop_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.drop_rate = drop_rate
        self.shortcut = nn.Sequential()  # the identity
        if stride != 1 or in_channels != out_channels:
            self.shortcut.append(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, H / stride, W / stride)``."""
        out = F.dropout(self.conv1(F.relu(self.bn1(x))), self.drop_rate, self.training)
        shortcut: torch.Tensor = self.shortcut(x)
        residual: torch.Tensor = self.conv2(F.relu(self.bn2(out)))
        return shortcut + residual


def _plan(name: str, depth: int, widen_factor: int, drop_rate: float) -> tuple[int, list[int]]:
    """The number of blocks in each group, and the channels of the three groups."""
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(f'{name}: depth must be 6n+4 with n >= 1 (10, 16, 22, ...), got {depth}')
    if not isinstance(widen_factor, int) or widen_factor < 1:
        raise ValueError(f'{name}: widen_factor must be a whole number above 0, got {widen_factor}')
    if not 0 <= drop_rate < 1:
        raise ValueError(f'{name}: drop_rate must be in [0, 1), got {drop_rate}')
    return (depth - 4) // 6, [16 * widen_factor << i for i in range(3)]


def _chain(
    block: type[nn.Module],
    in_channels: int,
    out_channels: int,
    blocks: int,
    stride: int,
    drop_rate: float,
) -> nn.Sequential:
    """A chain of ``blocks`` blocks; the first has the stride and changes the channels."""
    first = block(in_channels, out_channels, stride, drop_rate)
    return nn.Sequential(
        first, *(block(out_channels, out_channels, 1, drop_rate) for _ in range(blocks - 1))
    )


class Group(nn.Module):
    """A chain of blocks under the public name ``layer``.

    Args:
        layer: The chain.

    Examples:
        >>> list(Group(torch.nn.Sequential(torch.nn.Linear(1, 1))).state_dict())
        ['layer.0.weight', 'layer.0.bias']
    """

    def __init__(self, layer: nn.Sequential) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the chain on ``(B, C, H, W)``."""
        out: torch.Tensor = self.layer(x)
        return out


@MODELS.register_module()
class CifarWideResNet(BaseModule):
    """Wide ResNet of depth 6n+4 for CIFAR in the form of the CRD and mdistiller code.

    It has a 3x3 stem of 16 channels and three groups of n blocks each, and is known as
    WRN-depth-widen_factor. Source: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016.
    Parameters: ``conv1``, ``block{1-3}.layer.{i}.{bn1,conv1,bn2,conv2,convShortcut}`` and ``bn1``.
    Follow it with ``GlobalAveragePooling`` and ``LinearClsHead``; the public ``fc`` is ``head.fc``.

    Args:
        depth: 6n+4 with n >= 1 (10, 16, 22, 28, 40, ...).
        widen_factor: The groups have 16, 32 and 64 channels times this.
        drop_rate: Probability of dropout inside each block, in [0, 1).
        in_channels: Channels of the input image.
        out_indices: Groups (0, 1, 2) whose output ``forward`` returns.
        init_cfg: Initialization; by default He normal with fan-out for convolutions, and weight 1
            and bias 0 for batch norms.

    Raises:
        ValueError: If an argument is outside what is said above.

    Examples:
        >>> from mmdynakd.models.backbones import CifarWideResNet
        >>> net = CifarWideResNet(depth=10, widen_factor=2, out_indices=(0, 1, 2))
        >>> [tuple(group.shape) for group in net(torch.zeros(2, 3, 32, 32))]
        [(2, 32, 32, 32), (2, 64, 16, 16), (2, 128, 8, 8)]
    """

    def __init__(
        self,
        depth: int,
        widen_factor: int = 1,
        drop_rate: float = 0.0,
        in_channels: int = 3,
        out_indices: Sequence[int] = (2,),
        init_cfg: InitCfg = None,
    ) -> None:
        blocks, widths = _plan('CifarWideResNet', depth, widen_factor, drop_rate)
        out_indices = rising_stages('CifarWideResNet', out_indices, 3)
        super().__init__(HE_NORMAL if init_cfg is None else init_cfg)
        self.out_indices = out_indices
        self.conv1 = nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False)
        self.block1, self.block2, self.block3 = (
            Group(_chain(PreActivationBlock, before, after, blocks, stride, drop_rate))
            for before, after, stride in zip((16, *widths), widths, (1, 2, 2))
        )
        self.bn1 = nn.BatchNorm2d(widths[2])
        self.out_channels = widths[2]

    def forward(self, x: torch.Tensor) -> Features:
        """Map ``(B, in_channels, H, W)`` to one tensor for each group in ``out_indices``.

        The sides are ``H``, ``H / 2`` and ``H / 4``. Groups 0 and 1 end with the sum of their last
        block, group 2 with the network's last batch norm and ReLU.
        """
        *early, last = run_stages(self.conv1(x), (self.block1, self.block2, self.block3), (0, 1, 2))
        outputs = (*early, F.relu(self.bn1(last)))
        return tuple(outputs[i] for i in self.out_indices)


@MODELS.register_module()
class CifarWideResNetRaw(BaseModule):
    """Wide ResNet for CIFAR in the form of torchdistill: 1x1 shortcuts of the raw input.

    Its shapes are those of :class:`CifarWideResNet`, but it is another function. Parameters:
    ``conv1``, ``layer{1-3}.{i}.{bn1,conv1,bn2,conv2,shortcut.0}`` and ``bn1``. Follow it with
    ``GlobalAveragePooling`` and ``LinearClsHead``; the public ``fc`` is ``head.fc``. Arguments and
    errors are those of :class:`CifarWideResNet`; torchdistill trains with ``drop_rate=0.3``.

    Examples:
        >>> from mmdynakd.models.backbones import CifarWideResNetRaw
        >>> net = CifarWideResNetRaw(depth=10, widen_factor=2)
        >>> [tuple(group.shape) for group in net(torch.zeros(2, 3, 32, 32))]
        [(2, 128, 8, 8)]
    """

    def __init__(
        self,
        depth: int,
        widen_factor: int = 1,
        drop_rate: float = 0.0,
        in_channels: int = 3,
        out_indices: Sequence[int] = (2,),
        init_cfg: InitCfg = None,
    ) -> None:
        blocks, widths = _plan('CifarWideResNetRaw', depth, widen_factor, drop_rate)
        out_indices = rising_stages('CifarWideResNetRaw', out_indices, 3)
        super().__init__(HE_NORMAL if init_cfg is None else init_cfg)
        self.out_indices = out_indices
        self.conv1 = nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False)
        self.layer1, self.layer2, self.layer3 = (
            _chain(RawShortcutBlock, before, after, blocks, stride, drop_rate)
            for before, after, stride in zip((16, *widths), widths, (1, 2, 2))
        )
        self.bn1 = nn.BatchNorm2d(widths[2])
        self.out_channels = widths[2]

    def forward(self, x: torch.Tensor) -> Features:
        """Map ``(B, in_channels, H, W)`` to one tensor for each group in ``out_indices``.

        Sides and ends are those of :meth:`CifarWideResNet.forward`.
        """
        *early, last = run_stages(self.conv1(x), (self.layer1, self.layer2, self.layer3), (0, 1, 2))
        outputs = (*early, F.relu(self.bn1(last)))
        return tuple(outputs[i] for i in self.out_indices)
