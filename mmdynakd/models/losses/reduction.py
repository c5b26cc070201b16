"""What the losses share: from one number a sample to the loss."""

import torch

REDUCTIONS = ('mean', 'none')


def checked(reduction: str) -> str:
    """``reduction``; raises ValueError if it is no known one."""
    if reduction not in REDUCTIONS:
        raise ValueError(f'reduction must be one of {REDUCTIONS}, got {reduction!r}')
    return reduction


def reduced(losses: torch.Tensor, reduction: str) -> torch.Tensor:
    """(B,) as it is (``'none'``), or its mean."""
    return losses.mean() if reduction == 'mean' else losses
