"""VGG with batch norm for 32x32 images, in the two layouts that public checkpoints have."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import nn

from mmdynakd.registry import MODELS

from .parts import HE_NORMAL, Features, InitCfg, known_choice, rising_stages, run_stages

WIDTHS = (64, 128, 256, 512, 512)
# depth: convolutions in each of the five stages; as in the paper, depth counts three linear layers
CONVOLUTIONS = {
    8: (1, 1, 1, 1, 1),
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


def _stages(depth: int, in_channels: int) -> list[list[nn.Module]]:
    """The layers of each stage: repeats of convolution (with bias), batch norm and ReLU."""
    stages = []
    for count, width in zip(CONVOLUTIONS[depth], WIDTHS):
        layers: list[nn.Module] = []
        for _ in range(count):
            layers += [
                nn.Conv2d(in_channels, width, 3, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            in_channels = width
        stages.append(layers)
    return stages


@MODELS.register_module()
class CifarVGG(BaseModule):
    """VGG for CIFAR in the form of the CRD and mdistiller code: five blocks.

    Source: Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015, with batch norm.
    The depth of 8 has one convolution in each stage. Parameters: ``block{0-4}.{i}`` (convolutions
    and batch norms). Max-pooling by 2 comes before blocks 1, 2 and 3, and for images of 64 pixels
    before block 4 too. Follow it with ``GlobalAveragePooling`` and ``LinearClsHead``; the public
    ``classifier`` is ``head.fc``.

    Args:
        depth: 8, 11, 13, 16 or 19.
        in_channels: Channels of the input image.
        out_indices: Blocks (0 to 4) whose output ``forward`` returns.
        init_cfg: Initialization; by default He normal with fan-out for convolutions, and weight 1
            and bias 0 for batch norms.

    Raises:
        ValueError: If the depth is unknown or a block index is outside 0..4, repeated or out of
            order.

    Examples:
        >>> from mmdynakd.models.backbones import CifarVGG
        >>> net = CifarVGG(depth=8, out_indices=(0, 4))
        >>> [tuple(block.shape) for block in net(torch.zeros(2, 3, 32, 32))]
        [(2, 64, 32, 32), (2, 512, 4, 4)]
    """

    out_channels = WIDTHS[-1]

    def __init__(
        self,
        depth: int,
        in_channels: int = 3,
        out_indices: Sequence[int] = (4,),
        init_cfg: InitCfg = None,
    ) -> None:
        known_choice('CifarVGG', 'depth', depth, CONVOLUTIONS)
        out_indices = rising_stages('CifarVGG', out_indices, 5)
        super().__init__(HE_NORMAL if init_cfg is None else init_cfg)
        self.out_indices = out_indices
        for index, layers in enumerate(_stages(depth, in_channels)):
            # forward applies the last ReLU, so that a hook on a block sees the values before it, as
            # in the public code.
            self.add_module(f'block{index}', nn.Sequential(*layers[:-1]))

    def forward(self, x: torch.Tensor) -> Features:
        """Map ``(B, in_channels, H, W)`` to one tensor for each block in ``out_indices``.

        Every block ends with ReLU. For ``H = 32`` the sides are 32, 16, 8, 4, 4, and for
        ``H = 64`` they are 64, 32, 16, 8, 4.
        """
        pooled = (1, 2, 3, 4) if x.shape[2] == 64 else (1, 2, 3)
        outputs = []
        for index in range(5):
            x = F.max_pool2d(x, 2) if index in pooled else x
            x = F.relu(getattr(self, f'block{index}')(x))
            outputs.append(x)
        return tuple(outputs[i] for i in self.out_indices)


@MODELS.register_module()
class CifarVGGFeatures(BaseModule):
    """VGG for CIFAR in the form of pytorch-cifar-models: one sequence.

    The convolutions are those of :class:`CifarVGG` (without the depth of 8), but each of the five
    stages ends with max-pooling by 2. Parameters: ``features.{i}``. Follow it with
    ``GlobalAveragePooling`` (images of 32 pixels are 1x1 maps by then, which it leaves as they are)
    and :class:`~mmdynakd.models.heads.MLPClsHead`; the public ``classifier.{i}`` is
    ``head.classifier.{i}``.

    Args:
        depth: 11, 13, 16 or 19.
        in_channels: Channels of the input image.
        out_indices: Stages (0 to 4) whose output ``forward`` returns.
        init_cfg: Initialization; by default He normal with fan-out for convolutions, and weight 1
            and bias 0 for batch norms.

    Raises:
        ValueError: If the depth is unknown or a stage index is outside 0..4, repeated or out of
            order.

    Examples:
        >>> from mmdynakd.models.backbones import CifarVGGFeatures
        >>> net = CifarVGGFeatures(depth=11, out_indices=(0, 4))
        >>> [tuple(stage.shape) for stage in net(torch.zeros(2, 3, 32, 32))]
        [(2, 64, 16, 16), (2, 512, 1, 1)]
    """

    out_channels = WIDTHS[-1]

    def __init__(
        self,
        depth: int,
        in_channels: int = 3,
        out_indices: Sequence[int] = (4,),
        init_cfg: InitCfg = None,
    ) -> None:
        known_choice('CifarVGGFeatures', 'depth', depth, set(CONVOLUTIONS) - {8})
        out_indices = rising_stages('CifarVGGFeatures', out_indices, 5)
        super().__init__(HE_NORMAL if init_cfg is None else init_cfg)
        stages = [[*layers, nn.MaxPool2d(2)] for layers in _stages(depth, in_channels)]
        self.features = nn.Sequential(*(layer for layers in stages for layer in layers))
        ends = [sum(map(len, stages[: index + 1])) - 1 for index in range(5)]
        self.out_indices = out_indices
        self._wanted = tuple(ends[index] for index in out_indices)  # last layers, in ``features``

    def forward(self, x: torch.Tensor) -> Features:
        """Map ``(B, in_channels, H, W)`` to one tensor for each stage in ``out_indices``.

        Outputs come after the stage's pooling: for ``H = 32`` the sides are 16, 8, 4, 2, 1.
        """
        return run_stages(x, self.features, self._wanted)
