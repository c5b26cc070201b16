"""A random subset of the teachers a step; DGKD's stochastic drop."""

from collections.abc import Sequence

import numpy as np
import torch

from mmdynakd.functional import Draws
from mmdynakd.functional.draws import SUBSET
from mmdynakd.registry import MODELS

from .base import Choice, Selection


@MODELS.register_module()
class RandomSubset(Selection):
    """A random subset of the teachers in every step, each of its size as likely as any other.

    With ``reduction='sum'`` it is the stochastic learning of DGKD (Son et al., "Densely Guided
    Knowledge Distillation using Multiple Teacher Assistants", ICCV 2021): ``drop`` of the teacher
    and its assistants are left out at random, the losses of the others are added up.

    Args:
        teachers: names of the n teachers.
        drop: how many are left out, 0 to n − 1.
        reduction: ``'mean'``, or ``'sum'``: every weight is 1.

    Raises:
        ValueError: for another ``drop`` or ``reduction``.
    """

    def __init__(self, teachers: Sequence[str], drop: int = 1, reduction: str = 'mean') -> None:
        super().__init__(teachers)
        if (
            isinstance(drop, bool)
            or not isinstance(drop, int)
            or not 0 <= drop < len(self.teachers)
        ):
            raise ValueError(
                f'drop must be an integer from 0 to {len(self.teachers) - 1}, one less than there '
                'are '
                f'teachers, got {drop!r}'
            )
        if reduction not in ('mean', 'sum'):
            raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
        self.drop, self.reduction = drop, reduction

    def choose(self, draws: Draws, labels: torch.Tensor | None = None) -> Choice:
        numbers = draws.uniforms(len(self.teachers), SUBSET)
        kept = sorted(np.argsort(numbers)[self.drop :])
        weight = 1.0 if self.reduction == 'sum' else 1 / len(kept)
        return Choice({self.teachers[i]: weight for i in kept})
