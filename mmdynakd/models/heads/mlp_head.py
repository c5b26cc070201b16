"""A classification head of several linear layers."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from mmpretrain.models.heads import ClsHead
from torch import nn

from mmdynakd.registry import MODELS


@MODELS.register_module()
class MLPClsHead(ClsHead):
    """Hidden layers of linear, ReLU and dropout, then a linear layer to the logits.

    This is the classifier of VGG (Simonyan and Zisserman, ICLR 2015). As in public checkpoints, the
    layers are called ``classifier``, and the linear ones are ``classifier.{0,3,...}``.

    Args:
        num_classes: Number of classes C.
        in_channels: Length of the feature vector.
        hidden_channels: Length of each hidden layer.
        drop_rate: Probability of dropout after each hidden layer, in [0, 1).
        init_cfg: Initialization; by default normal with a standard deviation of 0.01, and bias 0.
        **kwargs: Arguments of MMPretrain's ``ClsHead``: ``loss``, ``topk``, ``cal_acc``.

    Raises:
        ValueError: If a size is not a whole number above 0 or the drop rate is outside [0, 1).

    Examples:
        >>> from mmengine.registry import init_default_scope
        >>> init_default_scope('mmpretrain')
        >>> head = MLPClsHead(num_classes=10, in_channels=512)
        >>> tuple(head((torch.zeros(2, 512),)).shape)
        (2, 10)
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        hidden_channels: Sequence[int] = (512, 512),
        drop_rate: float = 0.5,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        sizes = (in_channels, *hidden_channels)
        for key, values in (
            ('num_classes', (num_classes,)),
            ('in_channels', (in_channels,)),
            ('hidden_channels', hidden_channels),
        ):
            if any(not isinstance(value, int) or value < 1 for value in values):
                raise ValueError(
                    f'MLPClsHead: {key} must be whole and above 0, got {tuple(values)}'
                )
        if not 0 <= drop_rate < 1:
            raise ValueError(f'MLPClsHead: drop_rate must be in [0, 1), got {drop_rate}')
        super().__init__(
            init_cfg=init_cfg or {'type': 'Normal', 'layer': 'Linear', 'std': 0.01}, **kwargs
        )
        self.num_classes = num_classes
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(drop_rate)]
        self.classifier = nn.Sequential(*layers, nn.Linear(sizes[-1], num_classes))

    def forward(self, feats: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Compute logits.

        Args:
            feats: Feature vectors; the last one, ``(B, in_channels)``, is used.

        Returns:
            Logits, ``(B, C)``.
        """
        logits: torch.Tensor = self.classifier(self.pre_logits(feats))
        return logits
