"""KD on standardized logits."""

import torch
from torch import nn

from mmdynakd.functional.losses import kd, standardize
from mmdynakd.registry import MODELS

from .reduction import checked, reduced


@MODELS.register_module()
class LogitStdKDLoss(nn.Module):
    """KD + LogitStd: Hinton's loss on standardized logits.

    Source: Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024. See
    :func:`~mmdynakd.functional.losses.standardize`.

    Args:
        tau: Temperature τ. The authors' CIFAR-100 runs have 2 with a weight of 9.
        loss_weight: Factor on the loss, in addition to τ².
        reduction: ``'mean'`` over the batch, or ``'none'`` for one number for each sample, which
            weights for each sample need.

    Raises:
        ValueError: If the reduction is neither.

    Examples:
        >>> loss, logits = LogitStdKDLoss(), torch.tensor([[1.0, 2.0, 4.0]])
        >>> loss(logits, 10 * logits).item() < 1e-6  # the scale of logits does not count
        True
    """

    def __init__(self, tau: float = 2.0, loss_weight: float = 9.0, reduction: str = 'mean') -> None:
        super().__init__()
        self.tau, self.loss_weight, self.reduction = tau, loss_weight, checked(reduction)

    def forward(self, preds_S: torch.Tensor, preds_T: torch.Tensor) -> torch.Tensor:
        """Compare a batch.

        Args:
            preds_S: The student's logits, (B, C).
            preds_T: The teacher's, of the same shape.

        Returns:
            A scalar, or (B,) without reduction.
        """
        losses = kd(standardize(preds_S), standardize(preds_T), self.tau)
        return self.loss_weight * reduced(losses, self.reduction)
