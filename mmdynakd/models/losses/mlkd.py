"""Multi-level logit distillation."""

from collections.abc import Sequence

import torch
from torch import nn

from mmdynakd.functional.losses import mlkd
from mmdynakd.registry import MODELS


@MODELS.register_module()
class MLKDLoss(nn.Module):
    """MLKD of one view of the batch, see :func:`mlkd`. It compares the samples of a batch with one
    another.

    Args:
        taus: temperatures; one may be given twice, which weighs it twice.
        loss_weight: factor; 0.9 in the authors' CIFAR-100 runs, beside 0.1 of the label loss.
        standardize: the instance level on standardized logits (MLKD + LogitStd; there ``taus`` (2,
            3, 5, 2, 6) and weight 9, or 6).
        as_in_code: with the factors of the authors' code.

    Raises:
        ValueError: for no temperature, or one that is not positive.
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
            raise ValueError(f'taus must be positive temperatures, at least one, got {taus!r}')
        self.taus, self.loss_weight = tuple(taus), loss_weight
        self.standardize, self.as_in_code = standardize, as_in_code

    def forward(self, preds_S: torch.Tensor, preds_T: torch.Tensor) -> torch.Tensor:
        return self.loss_weight * mlkd(
            preds_S, preds_T, self.taus, self.standardize, self.as_in_code
        )
