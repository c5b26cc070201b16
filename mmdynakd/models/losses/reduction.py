"""From one number for each sample to the loss."""

import torch

REDUCTIONS = ('mean', 'none')


def checked(reduction: str) -> str:
    """Check the name of a reduction.

    Args:
        reduction: The name.

    Returns:
        The same name.

    Raises:
        ValueError: If it is neither ``'mean'`` nor ``'none'``.

    Examples:
        >>> checked('sum')
        Traceback (most recent call last):
        ValueError: reduction must be one of ('mean', 'none'), got 'sum'
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f'reduction must be one of {REDUCTIONS}, got {reduction!r}')
    return reduction


def reduced(losses: torch.Tensor, reduction: str) -> torch.Tensor:
    """Reduce the losses of a batch.

    Args:
        losses: One number for each sample, (B,).
        reduction: ``'mean'`` or ``'none'``.

    Returns:
        The mean, a scalar, or ``losses`` as they are.

    Examples:
        >>> reduced(torch.tensor([1.0, 3.0]), 'mean').item()
        2.0
    """
    return losses.mean() if reduction == 'mean' else losses
