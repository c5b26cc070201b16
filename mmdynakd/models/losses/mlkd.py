"""Multi-level logit distillation."""
from collections.abc import Sequence

import torch
from torch import nn

from mmdynakd.functional.losses import mlkd
from mmdynakd.registry import MODELS


@MODELS.register_module()
class MLKDLoss(nn.Module):
    """MLKD of one view of the batch, see :func:`mlkd`. It compares the samples of a batch with one another.

    Args:
        taus: temperatures.
        loss_weight: factor; 9 in the authors' CIFAR-100 runs.
        standardize: the instance level on standardized logits.
        as_in_code: with the factors of the authors' code.

    Raises:
        ValueError: for no temperature, or one that is not positive.
    """

    def __init__(self, taus: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0), loss_weight: float = 9.0,
                 standardize: bool = False, as_in_code: bool = False) -> None:
        super().__init__()
        if not taus or min(taus) <= 0:
            raise ValueError(f'taus must be positive temperatures, at least one, got {taus!r}')
        self.taus, self.loss_weight = tuple(taus), loss_weight
        self.standardize, self.as_in_code = standardize, as_in_code

    def forward(self, preds_S: torch.Tensor, preds_T: torch.Tensor) -> torch.Tensor:  # noqa: N803
        return self.loss_weight * mlkd(preds_S, preds_T, self.taus, self.standardize, self.as_in_code)
