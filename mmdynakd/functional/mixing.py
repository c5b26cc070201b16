"""What weights multiply: records, f̄(x; θ) = Σ_i θ_i f_Ti(x) (DynaKD, eq. 3), or losses."""

from collections.abc import Sequence
from typing import Any

import torch

Weight = float | torch.Tensor


def mix(records: Sequence[Any], weights: Sequence[Weight]) -> Any:
    """Weighted sum of records of one structure.

    Args:
        records: n records, each a tensor or a list / tuple of such (what a MMRazor recorder keeps).
        weights: n weights, each a number, a 0-dim tensor, or (B,) for tensors whose first dimension
            is B.

    Returns:
        A record of the same structure. One record of weight 1 is passed through untouched, bit for
        bit.

    Raises:
        ValueError: if the records differ in structure or shape.
    """
    if len(records) == 1 and isinstance(weights[0], (int, float)) and weights[0] == 1:
        return records[0]
    first = records[0]
    if isinstance(first, torch.Tensor):
        shapes = {
            tuple(r.shape) if isinstance(r, torch.Tensor) else type(r).__name__ for r in records
        }
        if len(shapes) > 1:
            raise ValueError(
                f'outputs of shapes {sorted(map(str, shapes))} cannot be averaged; '
                "mix the losses instead: relaxation='losses'"
            )
        return sum(_broadcast(w, r) * r for w, r in zip(weights, records))
    if isinstance(first, (list, tuple)):
        if len({len(r) for r in records}) > 1:
            raise ValueError(
                "records of different lengths cannot be averaged; use relaxation='losses'"
            )
        return type(first)(mix(parts, weights) for parts in zip(*records))
    raise ValueError(f'a record of type {type(first).__name__} cannot be averaged')


def _broadcast(weight: Weight, record: torch.Tensor) -> Weight:
    """A tensor weight with the record's number of dimensions: so a half-precision record is mixed
    in θ's precision.
    """
    if isinstance(weight, torch.Tensor) and record.dim():
        return weight.view(-1, *[1] * (record.dim() - 1))
    return weight


def weighted_loss(loss: torch.Tensor, weight: Weight) -> torch.Tensor:
    """Scalar ``weight · loss``, or ``1/B Σ_b weight_b loss_b`` for weights (B,), one a sample.

    Args:
        loss: scalar; or unreduced, (B,) or (B, ...), then summed within a sample and averaged over
            the samples.
        weight: a number, a 0-dim tensor, or (B,).

    Raises:
        ValueError: for (B,) weights of a scalar loss.
    """
    if loss.dim():
        loss = loss.reshape(len(loss), -1).sum(1)
    if isinstance(weight, torch.Tensor) and weight.dim():
        if loss.shape != weight.shape:
            raise ValueError(
                f'weights of {len(weight)} samples meet a loss of shape {tuple(loss.shape)}: a '
                'loss that '
                "is weighted sample by sample must not be averaged, set its reduction='none'"
            )
        return (weight.to(loss.dtype) * loss).mean()
    return weight * (loss.mean() if loss.dim() else loss)
