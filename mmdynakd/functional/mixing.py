"""What weights multiply: the teachers' records, or their losses.

Mixed records are f̄(x; θ) = Σ_i θ_i f_Ti(x) (DynaKD, eq. 3).
"""

from collections.abc import Sequence
from typing import Any

import torch

Weight = float | torch.Tensor


def mix(records: Sequence[Any], weights: Sequence[Weight]) -> Any:
    """Weighted sum of records of one structure.

    Args:
        records: n records, each a tensor, or a list or tuple of records (what a MMRazor recorder
            keeps).
        weights: n weights, each a number, a 0-dim tensor, or (B,) for tensors whose first dimension
            is B.

    Returns:
        A record of the same structure. A single record of weight 1 is returned untouched, bit for
        bit.

    Raises:
        ValueError: the records differ in structure or shape.

    Examples:
        >>> mix([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 6.0])], [0.5, 0.5]).tolist()
        [2.0, 4.0]
    """
    if len(records) == 1 and isinstance(weights[0], (int, float)) and weights[0] == 1:
        return records[0]
    first = records[0]
    if isinstance(first, torch.Tensor):
        _check_shapes(records)
        return sum(_broadcast(w, r) * r for w, r in zip(weights, records))
    if isinstance(first, (list, tuple)):
        if len({len(r) for r in records}) > 1:
            raise ValueError("records of different lengths cannot be averaged; use mix='losses'")
        return type(first)(mix(parts, weights) for parts in zip(*records))
    raise ValueError(f'a record of type {type(first).__name__} cannot be averaged')


def _check_shapes(records: Sequence[Any]) -> None:
    shapes = {tuple(r.shape) if isinstance(r, torch.Tensor) else type(r).__name__ for r in records}
    if len(shapes) > 1:
        raise ValueError(
            f'outputs of shapes {sorted(map(str, shapes))} cannot be averaged; '
            "mix the losses instead: mix='losses'"
        )


def _broadcast(weight: Weight, record: torch.Tensor) -> Weight:
    """Gives a tensor weight as many dimensions as the record.

    A 0-dim weight would not take part in type promotion; so a half-precision record is mixed in
    θ's precision.
    """
    if isinstance(weight, torch.Tensor) and record.dim():
        return weight.view(-1, *[1] * (record.dim() - 1))
    return weight


def weighted_loss(loss: torch.Tensor, weight: Weight) -> torch.Tensor:
    """Multiplies a loss by one weight, or by one weight a sample, and averages it over the batch.

    Args:
        loss: a scalar; or unreduced, (B,) or (B, ...): then it is summed within a sample and
            averaged over the samples.
        weight: a number, a 0-dim tensor, or (B,).

    Returns:
        A scalar: ``weight · loss``, or ``1/B Σ_b weight_b loss_b``.

    Raises:
        ValueError: (B,) weights meet a scalar loss.

    Examples:
        >>> weighted_loss(torch.tensor([1.0, 3.0]), 0.5).item()
        1.0
        >>> weighted_loss(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0])).item()
        1.5
    """
    if loss.dim():
        loss = loss.reshape(len(loss), -1).sum(1)
    if isinstance(weight, torch.Tensor) and weight.dim():
        if loss.shape != weight.shape:
            raise ValueError(
                f'weights of {len(weight)} samples meet a loss of shape {tuple(loss.shape)}: a '
                'loss that is weighted sample by sample must not be averaged; '
                "set its reduction='none'"
            )
        return (weight.to(loss.dtype) * loss).mean()
    return weight * (loss.mean() if loss.dim() else loss)
