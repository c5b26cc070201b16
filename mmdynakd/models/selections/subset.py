"""A random subset of the teachers in each step, and DGKD's stochastic drop."""

from collections.abc import Sequence

import numpy as np
import torch

from mmdynakd.functional import Draws
from mmdynakd.functional.draws import SUBSET
from mmdynakd.registry import MODELS

from .base import Choice, Selection


@MODELS.register_module()
class RandomSubset(Selection):
    """A random subset of the teachers in each step; all subsets of its size are equally likely.

    With ``reduction='sum'`` it is the stochastic learning of DGKD: ``drop`` of the teacher and its
    assistants are left out at random, and the losses of the others are added up.

    Source: Son et al., "Densely Guided Knowledge Distillation using Multiple Teacher Assistants",
    ICCV 2021.

    Args:
        teachers: Names of the n teachers.
        drop: How many are left out, 0 to n − 1.
        reduction: ``'mean'``, or ``'sum'``, which gives every teacher the weight 1.

    Raises:
        ValueError: For another ``drop`` or ``reduction``.

    Examples:
        >>> from mmdynakd.functional import Draws
        >>> subset = RandomSubset(['a', 'b', 'c'], drop=1)
        >>> subset.choose(Draws(seed=0, step=0)).weights
        {'b': 0.5, 'c': 0.5}
    """

    def __init__(self, teachers: Sequence[str], drop: int = 1, reduction: str = 'mean') -> None:
        super().__init__(teachers)
        most = len(self.teachers) - 1
        if isinstance(drop, bool) or not isinstance(drop, int) or not 0 <= drop <= most:
            raise ValueError(
                f'drop must be an integer from 0 to {most}, one less than the number of teachers, '
                f'got {drop!r}'
            )
        if reduction not in ('mean', 'sum'):
            raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
        self.drop, self.reduction = drop, reduction

    def choose(self, draws: Draws, labels: torch.Tensor | None = None) -> Choice:
        """Draw the teachers of this step."""
        numbers = draws.uniforms(len(self.teachers), SUBSET)
        kept = sorted(np.argsort(numbers)[self.drop :])
        weight = 1.0 if self.reduction == 'sum' else 1 / len(kept)
        return Choice({self.teachers[i]: weight for i in kept})
