"""Mean squared distance of features."""

import torch
from torch import nn

from mmdynakd.functional.losses import feature_mse
from mmdynakd.registry import MODELS

from .reduction import checked, reduced


@MODELS.register_module()
class FeatureMSELoss(nn.Module):
    """Mean squared distance of two features of one shape, see :func:`feature_mse`.

    Args:
        loss_weight: factor.
        reduction: ``'mean'``, or ``'none'``: one number a sample, for weights a sample.
    """

    def __init__(self, loss_weight: float = 1.0, reduction: str = 'mean') -> None:
        super().__init__()
        self.loss_weight, self.reduction = loss_weight, checked(reduction)

    def forward(self, preds_S: torch.Tensor, preds_T: torch.Tensor) -> torch.Tensor:
        return self.loss_weight * reduced(feature_mse(preds_S, preds_T), self.reduction)
