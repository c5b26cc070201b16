"""ShuffleNet (version 1) for 32x32 images."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.models.utils import channel_shuffle
from torch import nn

from mmdynakd.registry import MODELS

from .parts import HE_NORMAL, Features, InitCfg, known_choice, rising_stages, run_stages

STEM = 24
# groups: channels of the three stages (the paper's table 1). The other columns of that table give
# numbers of channels that the groups do not divide after this stem.
WIDTHS = {2: (200, 400, 800), 3: (240, 480, 960)}
BLOCKS = (4, 8, 4)


class ShuffleUnit(nn.Module):
    """A grouped 1x1 convolution, a shuffle, a depthwise 3x3 and a grouped 1x1 convolution.

    At stride 1 the input is added. At stride 2 the average-pooled input is appended, so the branch
    makes ``out_channels - in_channels`` channels. The first 1x1 convolution after the stem has one
    group.

    Args:
        in_channels: Channels of the input; those of the stem mark the first unit.
        out_channels: Channels of the output.
        stride: 1 or 2.
        groups: Groups of the 1x1 convolutions.

    Examples:
        >>> tuple(ShuffleUnit(24, 240, stride=2, groups=3)(torch.zeros(1, 24, 8, 8)).shape)
        (1, 240, 4, 4)
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, groups: int) -> None:
        super().__init__()
        branch = out_channels - in_channels if stride == 2 else out_channels
        middle = branch // 4
        self.stride = stride
        self.groups = 1 if in_channels == STEM else groups
        self.conv1 = nn.Conv2d(in_channels, middle, 1, groups=self.groups, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, 1, groups=middle, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, branch, 1, groups=groups, bias=False)
        self.bn3 = nn.BatchNorm2d(branch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, H / stride, W / stride)``."""
        out = channel_shuffle(F.relu(self.bn1(self.conv1(x))), self.groups)
        out = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(out)))))
        if self.stride == 1:
            return F.relu(out + x)
        return F.relu(torch.cat([out, F.avg_pool2d(x, 3, stride=2, padding=1)], 1))


@MODELS.register_module()
class CifarShuffleNetV1(BaseModule):
    """ShuffleNet for CIFAR in the form of the CRD and mdistiller code, there ``ShuffleV1``.

    Source: Zhang et al., "ShuffleNet", CVPR 2018, with a 1x1 stem of stride 1, no max-pooling, and
    ReLU after the depthwise convolution. Parameters: ``conv1``, ``bn1`` and
    ``layer{1-3}.{i}.{conv,bn}{1-3}``. Follow it with ``GlobalAveragePooling`` and
    ``LinearClsHead``; the public ``linear`` is ``head.fc``.

    Args:
        groups: Groups of the 1x1 convolutions, 2 or 3. Checkpoints are published for 3.
        in_channels: Channels of the input image.
        out_indices: Stages (0, 1, 2) whose output ``forward`` returns.
        init_cfg: Initialization; by default He normal with fan-out for convolutions, and weight 1
            and bias 0 for batch norms.

    Raises:
        ValueError: If ``groups`` is unknown or a stage index is outside 0..2, repeated or out of
            order.

    Examples:
        >>> from mmdynakd.models.backbones import CifarShuffleNetV1
        >>> net = CifarShuffleNetV1(out_indices=(0, 2))
        >>> [tuple(stage.shape) for stage in net(torch.zeros(2, 3, 32, 32))]
        [(2, 240, 16, 16), (2, 960, 4, 4)]
    """

    def __init__(
        self,
        groups: int = 3,
        in_channels: int = 3,
        out_indices: Sequence[int] = (2,),
        init_cfg: InitCfg = None,
    ) -> None:
        known_choice('CifarShuffleNetV1', 'groups', groups, WIDTHS)
        out_indices = rising_stages('CifarShuffleNetV1', out_indices, 3)
        super().__init__(HE_NORMAL if init_cfg is None else init_cfg)
        self.out_indices = out_indices
        self.out_channels = WIDTHS[groups][-1]
        self.conv1 = nn.Conv2d(in_channels, STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        before = (STEM, *WIDTHS[groups][:-1])
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(
                ShuffleUnit(wide_in, wide_out, 2, groups),
                *(ShuffleUnit(wide_out, wide_out, 1, groups) for _ in range(blocks - 1)),
            )
            for wide_in, wide_out, blocks in zip(before, WIDTHS[groups], BLOCKS)
        )

    def forward(self, x: torch.Tensor) -> Features:
        """Map ``(B, in_channels, H, W)`` to one tensor for each stage in ``out_indices``.

        Each stage halves the sides, to 16, 8, 4 for ``H = 32``, and ends with ReLU.
        """
        x = F.relu(self.bn1(self.conv1(x)))
        return run_stages(x, (self.layer1, self.layer2, self.layer3), self.out_indices)
