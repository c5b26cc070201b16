"""VGG with batch norm for 32x32 images, in the two layouts that public checkpoints have."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import nn

from mmdynakd.registry import MODELS

from .parts import HE_NORMAL, known_choice, rising_stages, run_stages

WIDTHS = (64, 128, 256, 512, 512)
# depth, counted as in the paper with three linear layers: convolutions in each of the five stages
CONVOLUTIONS = {
    8: (1, 1, 1, 1, 1),
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


def _stages(depth: int, in_channels: int) -> list[list[nn.Module]]:
    """The layers of each stage: convolution (with bias), batch norm and ReLU, in turn."""
    stages = []
    for count, width in zip(CONVOLUTIONS[depth], WIDTHS):
        layers = []
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
    """VGG for CIFAR in five blocks, as the public CRD / mdistiller checkpoints have it.

    Source: Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015, with batch norm;
    the depth of 8 has one convolution a stage. Parameters: ``block{0-4}.{i}`` (convolutions and
    batch norms). Max-pooling by 2 stands before blocks 1, 2 and 3, and before block 4 too for
    images of 64 pixels. ``GlobalAveragePooling`` and ``LinearClsHead`` follow; the public
    ``classifier`` is ``head.fc``.

    Args:
        depth: 8, 11, 13, 16 or 19.
        in_channels: Channels of the input image.
        out_indices: Blocks (0 to 4) whose output ``forward`` returns.
        init_cfg: Initialisation; by default He normal with fan-out for convolutions, 1 and 0 for
            batch norms.

    Raises:
        ValueError: If the depth is unknown or a block index is outside 0..4, repeated or out of
            order.
    """

    out_channels = WIDTHS[-1]

    def __init__(
        self,
        depth: int,
        in_channels: int = 3,
        out_indices: Sequence[int] = (4,),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        known_choice('CifarVGG', 'depth', depth, CONVOLUTIONS)
        out_indices = rising_stages('CifarVGG', out_indices, 5)
        super().__init__(HE_NORMAL if init_cfg is None else init_cfg)
        self.out_indices = out_indices
        for index, layers in enumerate(_stages(depth, in_channels)):
            # the last ReLU is left to forward: a hook on a block sees the values before it, as in
            # the public code
            self.add_module(f'block{index}', nn.Sequential(*layers[:-1]))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Map ``(B, in_channels, H, W)`` to one tensor a block in ``out_indices``, after its ReLU.

        For ``H = 32`` the sides are 32, 16, 8, 4, 4; for ``H = 64``: 64, 32, 16, 8, 4.
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
    """VGG for CIFAR as one sequence, as the checkpoints of pytorch-cifar-models have it.

    The convolutions are those of :class:`CifarVGG` (without the depth of 8), but max-pooling by 2
    ends each of the five stages. Parameters: ``features.{i}``. ``GlobalAveragePooling`` (which
    leaves 1x1 maps of 32x32 images as they are) and :class:`~mmdynakd.models.heads.MLPClsHead`
    follow; the public ``classifier.{i}`` is ``head.classifier.{i}``.

    Args:
        depth: 11, 13, 16 or 19.
        in_channels: Channels of the input image.
        out_indices: Stages (0 to 4) whose output ``forward`` returns.
        init_cfg: Initialisation; by default He normal with fan-out for convolutions, 1 and 0 for
            batch norms.

    Raises:
        ValueError: If the depth is unknown or a stage index is outside 0..4, repeated or out of
            order.
    """

    out_channels = WIDTHS[-1]

    def __init__(
        self,
        depth: int,
        in_channels: int = 3,
        out_indices: Sequence[int] = (4,),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        known_choice('CifarVGGFeatures', 'depth', depth, set(CONVOLUTIONS) - {8})
        out_indices = rising_stages('CifarVGGFeatures', out_indices, 5)
        super().__init__(HE_NORMAL if init_cfg is None else init_cfg)
        stages = [[*layers, nn.MaxPool2d(2)] for layers in _stages(depth, in_channels)]
        self.features = nn.Sequential(*(layer for layers in stages for layer in layers))
        ends = [sum(map(len, stages[: index + 1])) - 1 for index in range(5)]
        self.out_indices = out_indices
        self._wanted = tuple(
            ends[index] for index in out_indices
        )  # their last layers in ``features``

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Map ``(B, in_channels, H, W)`` to one tensor a stage in ``out_indices``, after its
        pooling.

        Stage i has sides ``H / 2^(i+1)``: 16, 8, 4, 2, 1 for ``H = 32``.
        """
        return run_stages(x, self.features, self._wanted)
