"""ShuffleNet (version 1) for 32x32 images."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import nn

from mmdynakd.registry import MODELS

from .parts import HE_NORMAL, known_choice, rising_stages, run_stages, shuffle_channels

STEM = 24
# groups: channels of the three stages (the paper's table 1; its other columns do not divide with
# this stem)
WIDTHS = {2: (200, 400, 800), 3: (240, 480, 960)}
BLOCKS = (4, 8, 4)


class ShuffleUnit(nn.Module):
    """Grouped 1x1, shuffle, depthwise 3x3 and grouped 1x1: ``(B, in, H, W)`` to ``(B, out, H /
    stride, …)``.

    At stride 1 the input is added; at stride 2 its average pool is appended, so that the branch
    makes ``out - in`` channels. Right behind the stem the first 1x1 convolution has one group.
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
        out = shuffle_channels(F.relu(self.bn1(self.conv1(x))), self.groups)
        out = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(out)))))
        if self.stride == 1:
            return F.relu(out + x)
        return F.relu(torch.cat([out, F.avg_pool2d(x, 3, stride=2, padding=1)], 1))


@MODELS.register_module()
class CifarShuffleNetV1(BaseModule):
    """ShuffleNet for CIFAR as the public CRD / mdistiller code has it (``ShuffleV1``).

    Source: Zhang et al., "ShuffleNet", CVPR 2018, with a 1x1 stem of stride 1, no max-pooling, and
    ReLU after the depthwise convolution. Parameters: ``conv1``, ``bn1``,
    ``layer{1-3}.{i}.{conv,bn}{1-3}``. ``GlobalAveragePooling`` and ``LinearClsHead`` follow; the
    public ``linear`` is ``head.fc``.

    Args:
        groups: Groups of the 1x1 convolutions, 2 or 3 (the published one).
        in_channels: Channels of the input image.
        out_indices: Stages (0, 1, 2) whose output ``forward`` returns.
        init_cfg: Initialisation; by default He normal with fan-out for convolutions, 1 and 0 for
            batch norms.

    Raises:
        ValueError: If ``groups`` is unknown or a stage index is outside 0..2, repeated or out of
            order.
    """

    def __init__(
        self,
        groups: int = 3,
        in_channels: int = 3,
        out_indices: Sequence[int] = (2,),
        init_cfg: dict | list[dict] | None = None,
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

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Map ``(B, in_channels, H, W)`` to one tensor a stage in ``out_indices``, after its last
        ReLU.

        Each stage halves the sides: 16, 8, 4 for ``H = 32``.
        """
        x = F.relu(self.bn1(self.conv1(x)))
        return run_stages(x, (self.layer1, self.layer2, self.layer3), self.out_indices)
