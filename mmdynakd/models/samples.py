"""What a batch says about its samples."""
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class BatchViews:
    """Which augmented samples a batch holds.

    Attributes:
        source: fingerprint of the data and of what augments them.
        size: number of samples of the split.
        ids: (B,) int64 on the host, ``epoch · size + index``.
    """
    source: str
    size: int
    ids: torch.Tensor
