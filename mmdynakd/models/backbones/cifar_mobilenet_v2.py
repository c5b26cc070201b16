"""MobileNetV2 for 32x32 images, in the two forms that public checkpoints have."""

from collections.abc import Callable, Sequence

import torch
from mmengine.model import BaseModule
from mmpretrain.models.utils import make_divisible
from torch import nn

from mmdynakd.registry import MODELS

from .parts import HE_NORMAL, Features, InitCfg, conv_bn, rising_stages, run_stages

# (channels, blocks, stride) of the seven stages: the paper's table 2, with the second at stride 1
STAGES = ((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))


class InvertedResidual(nn.Module):
    """A 1x1 expansion, a depthwise 3x3 and a linear 1x1 convolution, with or without a shortcut.

    Args:
        layers: All layers, in the order of the public checkpoints. They get the public name
            ``conv``.
        residual: Whether the input is added to the output.

    Examples:
        >>> block = InvertedResidual([torch.nn.Identity()], residual=True)
        >>> block(torch.ones(1, 2, 1, 1)).flatten().tolist()
        [2.0, 2.0]
    """

    def __init__(self, layers: Sequence[nn.Module], residual: bool) -> None:
        super().__init__()
        self.conv = nn.Sequential(*layers)
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, in, H, W)`` to ``(B, out, H / stride, W / stride)``."""
        out: torch.Tensor = self.conv(x)
        return x + out if self.residual else out


Block = Callable[[int, int, int, int], InvertedResidual]  # before, after, stride, expansion


def _plain_block(before: int, after: int, stride: int, expansion: int) -> InvertedResidual:
    """The CRD form: flat layers ``conv.{0-7}``, ReLU, and always an expansion, even by 1."""
    middle = before * expansion
    layers = [
        *conv_bn(before, middle),
        *conv_bn(middle, middle, 3, stride, groups=middle),
        *conv_bn(middle, after, act=None),
    ]
    return InvertedResidual(layers, stride == 1 and before == after)


def _nested_block(before: int, after: int, stride: int, expansion: int) -> InvertedResidual:
    """The torchvision form: nested layers ``conv.0.{0,1}``, ReLU6, and no expansion by 1."""
    middle = before * expansion
    expand = [nn.Sequential(*conv_bn(before, middle, act=nn.ReLU6))] if expansion != 1 else []
    depthwise = nn.Sequential(*conv_bn(middle, middle, 3, stride, groups=middle, act=nn.ReLU6))
    layers = [*expand, depthwise, *conv_bn(middle, after, act=None)]
    return InvertedResidual(layers, stride == 1 and before == after)


def _stages(
    block: Block, before: int, widths: Sequence[int], expansion: int
) -> list[list[InvertedResidual]]:
    stages = []
    for index, (after, (_, blocks, stride)) in enumerate(zip(widths, STAGES)):
        factor = expansion if index else 1
        stages.append(
            [
                block(before, after, stride, factor),
                *(block(after, after, 1, factor) for _ in range(blocks - 1)),
            ]
        )
        before = after
    return stages


def _positive(name: str, **numbers: float) -> None:
    for key, value in numbers.items():
        if not value > 0:
            raise ValueError(f'{name}: {key} must be above 0, got {value}')


@MODELS.register_module()
class CifarMobileNetV2(BaseModule):
    """MobileNetV2 for CIFAR in the form of the CRD and mdistiller code.

    There it is called ``MobileNetV2`` or "mobile_half". Source: Sandler et al., "MobileNetV2",
    CVPR 2018, table 2, with four changes: stride 2 in the stem and 1 in the second stage, ReLU, an
    expansion in the first block too, and channels cut to whole numbers, not rounded to multiples
    of 8. Parameters: ``conv1.{i}``, ``blocks.{stage}.{i}.conv.{j}`` and ``conv2.{i}``. Follow it
    with ``GlobalAveragePooling`` and ``LinearClsHead``; the public ``classifier.0`` is ``head.fc``.

    Args:
        widen_factor: Factor on the paper's numbers of channels. The last convolution keeps at
            least 1280.
        expansion: Factor t of the inverted residuals of stages 1 to 6.
        in_channels: Channels of the input image.
        out_indices: Stages whose output ``forward`` returns: 0 to 6 are the paper's, 7 is the last
            1x1 convolution.
        init_cfg: Initialization; by default He normal with fan-out for convolutions, and weight 1
            and bias 0 for batch norms.

    Raises:
        ValueError: If a stage index is outside 0..7, repeated or out of order, or a factor is not
            positive or leaves a layer without channels.

    Examples:
        >>> from mmdynakd.models.backbones import CifarMobileNetV2
        >>> net = CifarMobileNetV2(widen_factor=0.5, out_indices=(2, 7))
        >>> [tuple(stage.shape) for stage in net(torch.zeros(2, 3, 32, 32))]
        [(2, 16, 8, 8), (2, 1280, 2, 2)]
    """

    def __init__(
        self,
        widen_factor: float = 0.5,
        expansion: int = 6,
        in_channels: int = 3,
        out_indices: Sequence[int] = (7,),
        init_cfg: InitCfg = None,
    ) -> None:
        _positive('CifarMobileNetV2', widen_factor=widen_factor, expansion=expansion)
        widths = [int(channels * widen_factor) for channels, _, _ in STAGES]
        if widths[0] < 1:
            raise ValueError(
                f'CifarMobileNetV2: widen_factor must be 1/16 or more, got {widen_factor}'
            )
        out_indices = rising_stages('CifarMobileNetV2', out_indices, 8)
        super().__init__(HE_NORMAL if init_cfg is None else init_cfg)
        self.out_indices = out_indices
        self.out_channels = int(1280 * max(1.0, widen_factor))
        stem = int(32 * widen_factor)
        self.conv1 = nn.Sequential(*conv_bn(in_channels, stem, 3, 2))
        stages = _stages(_plain_block, stem, widths, expansion)
        self.blocks = nn.ModuleList(nn.Sequential(*blocks) for blocks in stages)
        self.conv2 = nn.Sequential(*conv_bn(widths[-1], self.out_channels))

    def forward(self, x: torch.Tensor) -> Features:
        """Map ``(B, in_channels, H, W)`` to one tensor for each stage in ``out_indices``.

        For ``H = 32`` the sides are 16, 16, 8, 4, 4, 2, 2, 2. Stages 0 to 6 end with a linear
        layer, stage 7 with ReLU.
        """
        return run_stages(self.conv1(x), (*self.blocks, self.conv2), self.out_indices)


@MODELS.register_module()
class CifarMobileNetV2Features(BaseModule):
    """MobileNetV2 for CIFAR in the form of pytorch-cifar-models: one sequence.

    It is torchvision's network (channels in multiples of 8, ReLU6, no expansion in the first
    block) with stride 1 in the stem and in the second stage. Parameters: ``features.{0-18}``.
    Follow it with ``GlobalAveragePooling`` and ``LinearClsHead``; the public ``classifier.1`` is
    ``head.fc``. In training, the public code drops out 20% of the classifier's input.

    Args:
        widen_factor: Factor on the paper's numbers of channels. Checkpoints are published for 0.5,
            0.75, 1.0 and 1.4.
        in_channels: Channels of the input image.
        out_indices: Stages whose output ``forward`` returns: 0 to 6 are the paper's, 7 is the last
            1x1 convolution.
        init_cfg: Initialization; by default He normal with fan-out for convolutions, and weight 1
            and bias 0 for batch norms.

    Raises:
        ValueError: If a stage index is outside 0..7, repeated or out of order, or the factor is not
            positive.

    Examples:
        >>> from mmdynakd.models.backbones import CifarMobileNetV2Features
        >>> net = CifarMobileNetV2Features(widen_factor=0.5, out_indices=(2, 7))
        >>> [tuple(stage.shape) for stage in net(torch.zeros(2, 3, 32, 32))]
        [(2, 16, 16, 16), (2, 1280, 4, 4)]
    """

    def __init__(
        self,
        widen_factor: float = 1.0,
        in_channels: int = 3,
        out_indices: Sequence[int] = (7,),
        init_cfg: InitCfg = None,
    ) -> None:
        _positive('CifarMobileNetV2Features', widen_factor=widen_factor)
        out_indices = rising_stages('CifarMobileNetV2Features', out_indices, 8)
        super().__init__(HE_NORMAL if init_cfg is None else init_cfg)
        widths = [make_divisible(channels * widen_factor, 8) for channels, _, _ in STAGES]
        self.out_indices = out_indices
        self.out_channels = make_divisible(1280 * max(1.0, widen_factor), 8)
        stem = make_divisible(32 * widen_factor, 8)
        stages = _stages(_nested_block, stem, widths, 6)
        self.features = nn.Sequential(
            nn.Sequential(*conv_bn(in_channels, stem, 3, act=nn.ReLU6)),
            *(block for blocks in stages for block in blocks),
            nn.Sequential(*conv_bn(widths[-1], self.out_channels, act=nn.ReLU6)),
        )
        ends = [sum(map(len, stages[: index + 1])) for index in range(7)]
        ends.append(ends[-1] + 1)
        self._wanted = tuple(ends[index] for index in out_indices)  # last layers, in ``features``

    def forward(self, x: torch.Tensor) -> Features:
        """Map ``(B, in_channels, H, W)`` to one tensor for each stage in ``out_indices``.

        For ``H = 32`` the sides are 32, 32, 16, 8, 8, 4, 4, 4. Stages 0 to 6 end with a linear
        layer, stage 7 with ReLU6.
        """
        return run_stages(x, self.features, self._wanted)
