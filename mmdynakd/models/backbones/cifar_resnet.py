"""The residual networks of depth 6n+2 for 32x32 images, of base width and x4."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import nn

from mmdynakd.registry import MODELS

from .parts import HE_NORMAL, Features, InitCfg, known_choice, rising_stages, run_stages

# width factor: (stem channels, channels of the three stages)
WIDTHS = {1: (16, (16, 32, 64)), 4: (32, (64, 128, 256))}


def _conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    The shortcut is a 1x1 convolution with batch norm where the stride is not 1 or the number of
    channels changes (the paper's "option B", as in public CIFAR checkpoints), and else the
    identity.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of the first convolution and of the shortcut.

    Examples:
        >>> tuple(BasicBlock(16, 32, stride=2)(torch.zeros(1, 16, 8, 8)).shape)
        (1, 32, 4, 4)
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, H / stride, W / stride)``."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + shortcut)


@MODELS.register_module()
class CifarResNet(BaseModule):
    """ResNet of depth 6n+2 for CIFAR: a 3x3 stem and three stages of n blocks each.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.
    Parameters have the names of public CIFAR checkpoints: ``conv1``, ``bn1``,
    ``layer{1-3}.{i}.{conv,bn}{1,2}`` and ``layer*.{i}.downsample.{0,1}``. Follow it with
    ``GlobalAveragePooling`` and ``LinearClsHead``; the public ``fc`` is ``head.fc``.

    Args:
        depth: Number of weighted layers, 6n+2 with n >= 1 (8, 14, 20, 32, 44, 56, 110, ...).
        width_factor: 1 for a stem of 16 and stages of 16/32/64 channels, 4 for the "x4" family with
            a stem of 32 and stages of 64/128/256 channels.
        in_channels: Channels of the input image.
        out_indices: Stages (0, 1, 2) whose output ``forward`` returns.
        init_cfg: Initialization; by default He normal with fan-out for convolutions, and weight 1
            and bias 0 for batch norms.

    Raises:
        ValueError: If the depth is not 6n+2, the width factor is unknown, or a stage index is
            outside 0..2, repeated or out of order.

    Examples:
        >>> from mmdynakd.models.backbones import CifarResNet
        >>> net = CifarResNet(depth=8, out_indices=(0, 1, 2))
        >>> [tuple(stage.shape) for stage in net(torch.zeros(2, 3, 32, 32))]
        [(2, 16, 32, 32), (2, 32, 16, 16), (2, 64, 8, 8)]
    """

    def __init__(
        self,
        depth: int,
        width_factor: int = 1,
        in_channels: int = 3,
        out_indices: Sequence[int] = (2,),
        init_cfg: InitCfg = None,
    ) -> None:
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(
                f'CifarResNet: depth must be 6n+2 with n >= 1 (8, 14, 20, 32, ...), got {depth}'
            )
        known_choice('CifarResNet', 'width_factor', width_factor, WIDTHS)
        out_indices = rising_stages('CifarResNet', out_indices, 3)
        super().__init__(HE_NORMAL if init_cfg is None else init_cfg)
        self.depth = depth
        self.out_indices = out_indices
        stem, self.stage_channels = WIDTHS[width_factor]
        self.conv1 = _conv3x3(in_channels, stem)
        self.bn1 = nn.BatchNorm2d(stem)
        blocks = (depth - 2) // 6
        inputs = (stem, *self.stage_channels[:-1])
        self.layer1, self.layer2, self.layer3 = (
            self._stage(before, after, blocks, stride)
            for before, after, stride in zip(inputs, self.stage_channels, (1, 2, 2), strict=True)
        )

    @staticmethod
    def _stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
        first = BasicBlock(in_channels, out_channels, stride)
        return nn.Sequential(
            first, *(BasicBlock(out_channels, out_channels) for _ in range(blocks - 1))
        )

    @property
    def out_channels(self) -> int:
        """Channels of the last stage: the ``in_channels`` of the classifier."""
        return self.stage_channels[-1]

    def forward(self, x: torch.Tensor) -> Features:
        """Map ``(B, in_channels, H, W)`` to one tensor for each stage in ``out_indices``.

        Stage 0 keeps ``(H, W)``; stages 1 and 2 halve both, rounding up. Every stage ends with
        ReLU.
        """
        x = F.relu(self.bn1(self.conv1(x)))
        return run_stages(x, (self.layer1, self.layer2, self.layer3), self.out_indices)
