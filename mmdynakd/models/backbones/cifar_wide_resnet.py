"""Wide residual networks for 32x32 images, in the two forms that public checkpoints have."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import nn

from mmdynakd.registry import MODELS

from .parts import HE_NORMAL, rising_stages, run_stages


class PreActivationBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions: ``(B, in, H, W)`` to ``(B, out, H /
    stride, …)``.

    Where the number of channels changes, the shortcut is a 1x1 convolution of the activated input;
    elsewhere it is the input itself. With ``drop_rate`` above 0, dropout lies before the second
    convolution.
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
        active = F.relu(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(active)
        out = F.relu(self.bn2(self.conv1(active)))
        return shortcut + self.conv2(F.dropout(out, self.drop_rate, self.training))


class RawShortcutBlock(nn.Module):
    """As :class:`PreActivationBlock`, but the 1x1 convolution takes the input itself, before batch
    norm and ReLU.

    Dropout lies right behind the first convolution.
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
        out = F.dropout(self.conv1(F.relu(self.bn1(x))), self.drop_rate, self.training)
        return self.shortcut(x) + self.conv2(F.relu(self.bn2(out)))


def _plan(name: str, depth: int, widen_factor: int, drop_rate: float) -> tuple[int, list[int]]:
    """Blocks of a group and channels of the three groups."""
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
    """``blocks`` blocks, of which the first strides and widens."""
    first = block(in_channels, out_channels, stride, drop_rate)
    return nn.Sequential(
        first, *(block(out_channels, out_channels, 1, drop_rate) for _ in range(blocks - 1))
    )


class Group(nn.Module):
    """A chain of blocks under the public name ``layer``."""

    def __init__(self, layer: nn.Sequential) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


@MODELS.register_module()
class CifarWideResNet(BaseModule):
    """WRN-depth-widen_factor for CIFAR: a 3x3 stem of 16 channels and three groups of n blocks,
    depth = 6n+4.

    Source: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016. Parameters carry the names
    of the public CRD / mdistiller checkpoints: ``conv1``,
    ``block{1-3}.layer.{i}.{bn1,conv1,bn2,conv2,convShortcut}`` and ``bn1``.
    ``GlobalAveragePooling`` and ``LinearClsHead`` follow; the public ``fc`` is ``head.fc``.

    Args:
        depth: 6n+4 with n >= 1 (10, 16, 22, 28, 40, ...).
        widen_factor: The groups have 16, 32 and 64 channels times this.
        drop_rate: Probability of dropout inside each block, in [0, 1).
        in_channels: Channels of the input image.
        out_indices: Groups (0, 1, 2) whose output ``forward`` returns.
        init_cfg: Initialisation; by default He normal with fan-out for convolutions, 1 and 0 for
            batch norms.

    Raises:
        ValueError: If an argument is outside what is said above.
    """

    def __init__(
        self,
        depth: int,
        widen_factor: int = 1,
        drop_rate: float = 0.0,
        in_channels: int = 3,
        out_indices: Sequence[int] = (2,),
        init_cfg: dict | list[dict] | None = None,
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

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Map ``(B, in_channels, H, W)`` to one tensor a group in ``out_indices``, of ``H``,
        ``H/2`` and ``H/4``.

        Group 2 comes after the last batch norm and ReLU; groups 0 and 1 are the sums at the end of
        their last block.
        """
        *early, last = run_stages(self.conv1(x), (self.block1, self.block2, self.block3), (0, 1, 2))
        outputs = (*early, F.relu(self.bn1(last)))
        return tuple(outputs[i] for i in self.out_indices)


@MODELS.register_module()
class CifarWideResNetRaw(BaseModule):
    """The wide residual network whose 1x1 shortcuts take the raw input, as torchdistill's
    checkpoints have it.

    Same shapes as :class:`CifarWideResNet`, another map. Parameters: ``conv1``,
    ``layer{1-3}.{i}.{bn1,conv1,bn2,conv2,shortcut.0}`` and ``bn1``. ``GlobalAveragePooling`` and
    ``LinearClsHead`` follow; the public ``fc`` is ``head.fc``. Arguments and errors are those of
    :class:`CifarWideResNet` (torchdistill trains with ``drop_rate=0.3``).
    """

    def __init__(
        self,
        depth: int,
        widen_factor: int = 1,
        drop_rate: float = 0.0,
        in_channels: int = 3,
        out_indices: Sequence[int] = (2,),
        init_cfg: dict | list[dict] | None = None,
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

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """As :meth:`CifarWideResNet.forward`."""
        *early, last = run_stages(self.conv1(x), (self.layer1, self.layer2, self.layer3), (0, 1, 2))
        outputs = (*early, F.relu(self.bn1(last)))
        return tuple(outputs[i] for i in self.out_indices)
