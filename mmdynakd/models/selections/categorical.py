"""Cat(θ): learned (θ = softmax α) or fixed."""
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from mmdynakd.functional import as_simplex, invert_cdf, rank_weights
from mmdynakd.registry import MODELS

from .base import Choice

WEIGHTINGS = (True, False, 'normalized')


@MODELS.register_module()
class CategoricalDistribution(nn.Module):
    """Categorical distribution over the teachers; one is drawn a step (DynaKD, eqs. 1 and 4).

    Args:
        teachers: names of the n teachers, in their order.
        probs: None to learn θ = softmax(α), α initialised to 0 (uniform); or a fixed θ: ``'uniform'``, the name of
            one teacher (one-hot), a sequence of n numbers, or ``{teacher: probability}`` (absent ones are 0).
        scores: ``{teacher: score}``: fixed θ proportional to the rank of the scores (SKDBERT's teacher-rank with
            the teachers' accuracies, student-rank with their students').
        weight_by_probability: True multiplies the loss by θ̂, the probability of the teacher drawn (eq. 4);
            False leaves it at 1; ``'normalized'`` uses θ̂ / Σθ², whose expectation is 1 at every θ, so that lanes
            with different θ keep one loss scale.

    Raises:
        ValueError: for no teachers, repeated or unknown names, or a θ that is no simplex.
    """

    def __init__(self,
                 teachers: Sequence[str],
                 probs: str | Sequence[float] | Mapping[str, float] | None = None,
                 scores: Mapping[str, float] | None = None,
                 weight_by_probability: bool | str = True) -> None:
        super().__init__()
        self.teachers = list(teachers)
        if not self.teachers:
            raise ValueError('a distribution needs at least one teacher')
        if len(set(self.teachers)) < len(self.teachers):
            raise ValueError(f'teacher names repeat: {self.teachers}')
        if not any(weight_by_probability is mode or weight_by_probability == mode for mode in WEIGHTINGS):
            raise ValueError(f'weight_by_probability must be one of {WEIGHTINGS}, got {weight_by_probability!r}')
        if probs is not None and scores is not None:
            raise ValueError('give probs or scores, not both')
        self.weight_by_probability = weight_by_probability
        if scores is not None:
            probs = rank_weights(self._by_name(scores, 'scores', complete=True))
        self.learnable = probs is None
        if self.learnable:
            self.alpha = nn.Parameter(torch.zeros(len(self.teachers)))
        else:
            # A plain list, not a buffer: nothing may round it, move it or overwrite it on load.
            self._fixed = self._resolve(probs)

    def _resolve(self, probs: str | Sequence[float] | Mapping[str, float]) -> list[float]:
        n = len(self.teachers)
        if isinstance(probs, str):
            if probs == 'uniform':
                return [1 / n] * n
            probs = {probs: 1.0}
        if isinstance(probs, Mapping):
            probs = self._by_name(probs, 'probs', complete=False)
        return as_simplex(probs, n)

    def _by_name(self, values: Mapping[str, float], key: str, complete: bool) -> list[float]:
        unknown = sorted(set(values) - set(self.teachers))
        missing = [t for t in self.teachers if t not in values] if complete else []
        if unknown or missing:
            raise ValueError(f'{key} names the teachers {self.teachers}; unknown: {unknown}, missing: {missing}')
        return [values.get(t, 0.0) for t in self.teachers]

    def probs(self) -> list[float]:
        """θ, n float64 numbers in the teachers' order."""
        if not self.learnable:
            return self._fixed
        return torch.softmax(self.alpha.detach().double(), dim=0).tolist()

    def choose(self, u: float) -> Choice:
        """The teacher drawn at the uniform number ``u`` in [0, 1), with its weight in the loss."""
        probs = self.probs()
        index = invert_cdf(probs, u)
        return Choice({self.teachers[index]: 1.0}, self._scale(probs, index))

    def _scale(self, probs: list[float], index: int) -> float:
        if not self.weight_by_probability:
            return 1.0
        scale = probs[index]
        return scale / sum(p * p for p in probs) if self.weight_by_probability == 'normalized' else scale

    def relax(self, theta: torch.Tensor) -> Choice:
        """All teachers, weighted by ``theta`` (n,), with gradient: the continuous relaxation (eq. 3)."""
        return Choice(dict(zip(self.teachers, theta)))
