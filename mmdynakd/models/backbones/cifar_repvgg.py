"""RepVGG for 32x32 images."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import nn

from mmdynakd.registry import MODELS

from .parts import HE_NORMAL, Features, InitCfg, conv_bn, known_choice, rising_stages, run_stages

BLOCKS = (2, 4, 14, 1)
# arch: channels of the four stages (the paper's table 3)
WIDTHS = {'A0': (48, 96, 192, 1280), 'A1': (64, 128, 256, 1280), 'A2': (96, 192, 384, 1408)}


class RepVGGUnit(nn.Module):
    """ReLU of the sum of a 3x3 and a 1x1 branch.

    Where the shape does not change, the input through its own batch norm is a third summand.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of both branches.

    Examples:
        >>> tuple(RepVGGUnit(3, 8, stride=2)(torch.zeros(1, 3, 4, 4)).shape)
        (1, 8, 2, 2)
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.rbr_identity = (
            nn.BatchNorm2d(in_channels) if stride == 1 and in_channels == out_channels else None
        )
        self.rbr_dense = self._branch(in_channels, out_channels, 3, stride)
        self.rbr_1x1 = self._branch(in_channels, out_channels, 1, stride)

    @staticmethod
    def _branch(
        in_channels: int, out_channels: int, kernel_size: int, stride: int
    ) -> nn.Sequential:
        layers = conv_bn(in_channels, out_channels, kernel_size, stride, act=None)
        return nn.Sequential(OrderedDict(zip(('conv', 'bn'), layers, strict=True)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, H / stride, W / stride)``."""
        out = self.rbr_dense(x) + self.rbr_1x1(x)
        return F.relu(out if self.rbr_identity is None else out + self.rbr_identity(x))


@MODELS.register_module()
class CifarRepVGG(BaseModule):
    """RepVGG for CIFAR in the form of pytorch-cifar-models: branches not yet merged.

    Source: Ding et al., "RepVGG: Making VGG-style ConvNets Great Again", CVPR 2021, with stride 1
    in the stem and in the first stage. Parameters: ``stage0`` (the stem) and ``stage{1-4}.{i}``,
    each with ``rbr_{dense,1x1}.{conv,bn}`` and, where the shape does not change, ``rbr_identity``.
    Follow it with ``GlobalAveragePooling`` and ``LinearClsHead``; the public ``linear`` is
    ``head.fc``.

    Args:
        arch: 'A0', 'A1' or 'A2'.
        in_channels: Channels of the input image.
        out_indices: Stages (0 to 3, after the stem) whose output ``forward`` returns.
        init_cfg: Initialization; by default He normal with fan-out for convolutions, and weight 1
            and bias 0 for batch norms.

    Raises:
        ValueError: If ``arch`` is unknown or a stage index is outside 0..3, repeated or out of
            order.

    Examples:
        >>> from mmdynakd.models.backbones import CifarRepVGG
        >>> net = CifarRepVGG('A0', out_indices=(0, 1))
        >>> [tuple(stage.shape) for stage in net(torch.zeros(2, 3, 32, 32))]
        [(2, 48, 32, 32), (2, 96, 16, 16)]
    """

    def __init__(
        self,
        arch: str,
        in_channels: int = 3,
        out_indices: Sequence[int] = (3,),
        init_cfg: InitCfg = None,
    ) -> None:
        known_choice('CifarRepVGG', 'arch', arch, WIDTHS)
        out_indices = rising_stages('CifarRepVGG', out_indices, 4)
        super().__init__(HE_NORMAL if init_cfg is None else init_cfg)
        widths = WIDTHS[arch]
        self.out_indices = out_indices
        self.out_channels = widths[-1]
        stem = min(64, widths[0])
        self.stage0 = RepVGGUnit(in_channels, stem)
        self.stage1, self.stage2, self.stage3, self.stage4 = (
            nn.Sequential(
                RepVGGUnit(before, after, stride),
                *(RepVGGUnit(after, after) for _ in range(blocks - 1)),
            )
            for before, after, stride, blocks in zip((stem, *widths), widths, (1, 2, 2, 2), BLOCKS)
        )

    def forward(self, x: torch.Tensor) -> Features:
        """Map ``(B, in_channels, H, W)`` to one tensor for each stage in ``out_indices``.

        For ``H = 32`` the sides are 32, 16, 8, 4. Every stage ends with ReLU.
        """
        return run_stages(
            self.stage0(x), (self.stage1, self.stage2, self.stage3, self.stage4), self.out_indices
        )
