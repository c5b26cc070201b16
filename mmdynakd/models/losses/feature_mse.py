"""Mean squared error of features."""

import torch
from torch import nn

from mmdynakd.functional.losses import feature_mse
from mmdynakd.registry import MODELS

from .reduction import checked, reduced


@MODELS.register_module()
class FeatureMSELoss(nn.Module):
    """Mean squared error between two features of one shape.

    See :func:`~mmdynakd.functional.losses.feature_mse`.

    Args:
        loss_weight: Factor on the loss.
        reduction: ``'mean'`` over the batch, or ``'none'`` for one number for each sample, which
            weights for each sample need.

    Raises:
        ValueError: If the reduction is neither.

    Examples:
        >>> loss = FeatureMSELoss(reduction='none')
        >>> loss(torch.zeros(2, 3), torch.tensor([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])).tolist()
        [1.0, 4.0]
    """

    def __init__(self, loss_weight: float = 1.0, reduction: str = 'mean') -> None:
        super().__init__()
        self.loss_weight, self.reduction = loss_weight, checked(reduction)

    def forward(self, preds_S: torch.Tensor, preds_T: torch.Tensor) -> torch.Tensor:
        """Compare a batch.

        Args:
            preds_S: The student's features, (B, ...).
            preds_T: The teacher's, of the same shape.

        Returns:
            A scalar, or (B,) without reduction.
        """
        return self.loss_weight * reduced(feature_mse(preds_S, preds_T), self.reduction)
