"""KD on standardized logits."""

import torch
from torch import nn

from mmdynakd.functional.losses import kd, standardize
from mmdynakd.registry import MODELS

from .reduction import checked, reduced


@MODELS.register_module()
class LogitStdKDLoss(nn.Module):
    """KD + LogitStd: Hinton's loss on standardized logits, see :func:`standardize`.

    Args:
        tau: temperature; 2 with weight 9 in the authors' CIFAR-100 runs.
        loss_weight: factor, beside τ².
        reduction: ``'mean'``, or ``'none'``: one number a sample, for weights a sample.
    """

    def __init__(self, tau: float = 2.0, loss_weight: float = 9.0, reduction: str = 'mean') -> None:
        super().__init__()
        self.tau, self.loss_weight, self.reduction = tau, loss_weight, checked(reduction)

    def forward(self, preds_S: torch.Tensor, preds_T: torch.Tensor) -> torch.Tensor:
        losses = kd(standardize(preds_S), standardize(preds_T), self.tau)
        return self.loss_weight * reduced(losses, self.reduction)
