"""Multi-level logit distillation."""

from collections.abc import Sequence

import torch
from torch import nn

from mmdynakd.functional.losses import mlkd
from mmdynakd.registry import MODELS


@MODELS.register_module()
class MLKDLoss(nn.Module):
    """Multi-level logit distillation (MLKD) of one view of the batch.

    Source: Jin et al., "Multi-Level Logit Distillation", CVPR 2023. See
    :func:`~mmdynakd.functional.losses.mlkd`. It compares the samples of a batch with one another,
    so it has no form with one number for each sample.

    Args:
        taus: Temperatures. A temperature that is given twice counts twice.
        loss_weight: Factor on the loss. The authors' CIFAR-100 runs have 0.9, and 0.1 on the label
            loss.
        standardize: Standardize the logits of the instance level (MLKD + LogitStd). The authors'
            runs of that have ``taus`` (2, 3, 5, 2, 6) and a weight of 9 or 6.
        as_in_code: Apply the factors of the authors' code, which the paper does not have.

    Raises:
        ValueError: If there is no temperature, or one is not positive.

    Examples:
        >>> loss, logits = MLKDLoss(taus=(2.0, 4.0)), torch.tensor([[0.0, 3.0], [1.0, 0.0]])
        >>> loss(logits, logits).item()
        0.0
        >>> round(loss(logits, -logits).item(), 3)
        4.281
    """

    def __init__(
        self,
        taus: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0),
        loss_weight: float = 0.9,
        standardize: bool = False,
        as_in_code: bool = False,
    ) -> None:
        super().__init__()
        if not taus or min(taus) <= 0:
            raise ValueError(f'taus must be one or more positive temperatures, got {taus!r}')
        self.taus, self.loss_weight = tuple(taus), loss_weight
        self.standardize, self.as_in_code = standardize, as_in_code

    def forward(self, preds_S: torch.Tensor, preds_T: torch.Tensor) -> torch.Tensor:
        """Compare a batch.

        Args:
            preds_S: The student's logits, (B, C).
            preds_T: The teacher's, of the same shape.

        Returns:
            A scalar.
        """
        return self.loss_weight * mlkd(
            preds_S, preds_T, self.taus, self.standardize, self.as_in_code
        )
