"""ShuffleNetV2 for 32x32 images, in the two layouts that public checkpoints have."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.models.utils import channel_shuffle
from torch import nn

from mmdynakd.registry import MODELS

from .parts import HE_NORMAL, Features, InitCfg, conv_bn, known_choice, rising_stages, run_stages

STEM = 24
# width: channels of the three stages and of the last 1x1 convolution (the paper's table 5)
PAPER_WIDTHS = {
    0.5: (48, 96, 192, 1024),
    1: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2: (244, 488, 976, 2048),
}
# The CRD code adds two small widths, and has 224, not 244, channels in the first stage of width 2.
CRD_WIDTHS = {
    **PAPER_WIDTHS,
    0.2: (40, 80, 160, 512),
    0.3: (40, 80, 160, 512),
    2: (224, 488, 976, 2048),
}


class NumberedUnit(nn.Module):
    """A unit of two branches with the numbered layers of the CRD code.

    At stride 1 the first half of the channels stays as it is, and the second passes 1x1, depthwise
    3x3 and 1x1 (layers 1 to 3). At stride 2 all channels pass both branches: depthwise 3x3 and 1x1
    (layers 1 and 2), and 1x1, depthwise 3x3 and 1x1 (layers 3 to 5). The outputs of the branches
    are joined and shuffled.

    Args:
        in_channels: Channels of the input, equal to ``out_channels`` at stride 1.
        out_channels: Channels of the output, even.
        stride: 1 or 2.

    Examples:
        >>> tuple(NumberedUnit(24, 48, stride=2)(torch.zeros(1, 24, 8, 8)).shape)
        (1, 48, 4, 4)
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.stride = stride
        layers: list[nn.Module] = []
        if stride == 2:
            layers += conv_bn(in_channels, in_channels, 3, 2, groups=in_channels, act=None)
            layers += conv_bn(in_channels, half, act=None)
        layers += conv_bn(in_channels if stride == 2 else half, half, act=None)
        layers += conv_bn(half, half, 3, stride, groups=half, act=None)
        layers += conv_bn(half, half, act=None)
        for index, (conv, norm) in enumerate(zip(layers[::2], layers[1::2]), start=1):
            self.add_module(f'conv{index}', conv)
            self.add_module(f'bn{index}', norm)

    def _layer(self, index: int, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = getattr(self, f'bn{index}')(getattr(self, f'conv{index}')(x))
        return out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, H / stride, W / stride)``."""
        if self.stride == 2:
            left, right, first = F.relu(self._layer(2, self._layer(1, x))), x, 3
        else:
            (left, right), first = x.chunk(2, dim=1), 1
        right = self._layer(first + 1, F.relu(self._layer(first, right)))
        right = F.relu(self._layer(first + 2, right))
        out: torch.Tensor = channel_shuffle(torch.cat([left, right], 1), 2)
        return out


class BranchedUnit(nn.Module):
    """The same function as :class:`NumberedUnit`, with torchvision's ``branch1`` and ``branch2``.

    Args:
        in_channels: Channels of the input, equal to ``out_channels`` at stride 1.
        out_channels: Channels of the output, even.
        stride: 1 or 2.

    Examples:
        >>> tuple(BranchedUnit(24, 48, stride=2)(torch.zeros(1, 24, 8, 8)).shape)
        (1, 48, 4, 4)
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.stride = stride
        self.branch1 = nn.Sequential()  # empty at stride 1
        if stride == 2:
            self.branch1 = nn.Sequential(
                *conv_bn(in_channels, in_channels, 3, 2, groups=in_channels, act=None),
                *conv_bn(in_channels, half),
            )
        self.branch2 = nn.Sequential(
            *conv_bn(in_channels if stride == 2 else half, half),
            *conv_bn(half, half, 3, stride, groups=half, act=None),
            *conv_bn(half, half),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, H / stride, W / stride)``."""
        left, right = (x, x) if self.stride == 2 else x.chunk(2, dim=1)
        joined = torch.cat([self.branch1(left), self.branch2(right)], 1)
        out: torch.Tensor = channel_shuffle(joined, 2)
        return out


def _stages(
    unit: type[nn.Module], widths: Sequence[int], repeats: Sequence[int]
) -> list[nn.Sequential]:
    """The three stages: a unit of stride 2, then ``repeats`` units of stride 1."""
    return [
        nn.Sequential(unit(before, after, 2), *(unit(after, after, 1) for _ in range(repeat)))
        for before, after, repeat in zip((STEM, *widths), widths[:3], repeats)
    ]


@MODELS.register_module()
class CifarShuffleNetV2(BaseModule):
    """ShuffleNetV2 for CIFAR in the form of the CRD and mdistiller code, there ``ShuffleV2``.

    Source: Ma et al., "ShuffleNet V2", ECCV 2018, with a 1x1 stem of stride 1 and no max-pooling.
    Parameters: ``conv1``, ``bn1``, ``layer{1-3}.{i}.{conv,bn}{1-5}``, ``conv2`` and ``bn2``.
    Follow it with ``GlobalAveragePooling`` and ``LinearClsHead``; the public ``linear`` is
    ``head.fc``.

    Args:
        widen_factor: 0.2, 0.3, 0.5, 1, 1.5 or 2. Checkpoints are published for 1.
        in_channels: Channels of the input image.
        out_indices: Stages whose output ``forward`` returns: 0 to 2 are those of shuffled units, 3
            is the last 1x1 convolution.
        init_cfg: Initialization; by default He normal with fan-out for convolutions, and weight 1
            and bias 0 for batch norms.

    Raises:
        ValueError: If the width is unknown or a stage index is outside 0..3, repeated or out of
            order.

    Examples:
        >>> from mmdynakd.models.backbones import CifarShuffleNetV2
        >>> net = CifarShuffleNetV2(widen_factor=0.2, out_indices=(0, 3))
        >>> [tuple(stage.shape) for stage in net(torch.zeros(2, 3, 32, 32))]
        [(2, 40, 16, 16), (2, 512, 4, 4)]
    """

    def __init__(
        self,
        widen_factor: float = 1,
        in_channels: int = 3,
        out_indices: Sequence[int] = (3,),
        init_cfg: InitCfg = None,
    ) -> None:
        known_choice('CifarShuffleNetV2', 'widen_factor', widen_factor, CRD_WIDTHS)
        out_indices = rising_stages('CifarShuffleNetV2', out_indices, 4)
        super().__init__(HE_NORMAL if init_cfg is None else init_cfg)
        widths = CRD_WIDTHS[widen_factor]
        self.out_indices = out_indices
        self.out_channels = widths[3]
        self.conv1 = nn.Conv2d(in_channels, STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        repeats = (3, 3 if widen_factor == 0.2 else 7, 3)
        self.layer1, self.layer2, self.layer3 = _stages(NumberedUnit, widths, repeats)
        self.conv2 = nn.Conv2d(widths[2], widths[3], 1, bias=False)
        self.bn2 = nn.BatchNorm2d(widths[3])

    def forward(self, x: torch.Tensor) -> Features:
        """Map ``(B, in_channels, H, W)`` to one tensor for each stage in ``out_indices``.

        For ``H = 32`` the sides are 16, 8, 4, 4. Every stage ends with ReLU, and stages 0 to 2
        then shuffle.
        """
        x = F.relu(self.bn1(self.conv1(x)))
        outputs = run_stages(x, (self.layer1, self.layer2, self.layer3), (0, 1, 2))
        outputs += (F.relu(self.bn2(self.conv2(outputs[-1]))),)
        return tuple(outputs[i] for i in self.out_indices)


@MODELS.register_module()
class CifarShuffleNetV2Stages(BaseModule):
    """ShuffleNetV2 for CIFAR in the form of pytorch-cifar-models.

    It is torchvision's network with stride 1 in the 3x3 stem and no max-pooling. Parameters:
    ``conv1.{i}``, ``stage{2-4}.{i}.branch{1,2}.{j}`` and ``conv5.{i}``. Follow it with
    ``GlobalAveragePooling`` and ``LinearClsHead``; the public ``fc`` is ``head.fc``.

    Args:
        widen_factor: 0.5, 1, 1.5 or 2.
        in_channels: Channels of the input image.
        out_indices: Stages whose output ``forward`` returns: 0 to 2 are those of shuffled units, 3
            is the last 1x1 convolution.
        init_cfg: Initialization; by default He normal with fan-out for convolutions, and weight 1
            and bias 0 for batch norms.

    Raises:
        ValueError: If the width is unknown or a stage index is outside 0..3, repeated or out of
            order.

    Examples:
        >>> from mmdynakd.models.backbones import CifarShuffleNetV2Stages
        >>> net = CifarShuffleNetV2Stages(widen_factor=0.5, out_indices=(0, 3))
        >>> [tuple(stage.shape) for stage in net(torch.zeros(2, 3, 32, 32))]
        [(2, 48, 16, 16), (2, 1024, 4, 4)]
    """

    def __init__(
        self,
        widen_factor: float = 1,
        in_channels: int = 3,
        out_indices: Sequence[int] = (3,),
        init_cfg: InitCfg = None,
    ) -> None:
        known_choice('CifarShuffleNetV2Stages', 'widen_factor', widen_factor, PAPER_WIDTHS)
        out_indices = rising_stages('CifarShuffleNetV2Stages', out_indices, 4)
        super().__init__(HE_NORMAL if init_cfg is None else init_cfg)
        widths = PAPER_WIDTHS[widen_factor]
        self.out_indices = out_indices
        self.out_channels = widths[3]
        self.conv1 = nn.Sequential(*conv_bn(in_channels, STEM, 3))
        self.stage2, self.stage3, self.stage4 = _stages(BranchedUnit, widths, (3, 7, 3))
        self.conv5 = nn.Sequential(*conv_bn(widths[2], widths[3]))

    def forward(self, x: torch.Tensor) -> Features:
        """Map ``(B, in_channels, H, W)`` to one tensor for each stage in ``out_indices``.

        For ``H = 32`` the sides are 16, 8, 4, 4.
        """
        return run_stages(
            self.conv1(x), (self.stage2, self.stage3, self.stage4, self.conv5), self.out_indices
        )
