"""Cat(θ), learned (θ = softmax α) or fixed, for all samples or for each class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from mmdynakd.functional import (
    Draws,
    as_simplices,
    entropy,
    gumbel,
    invert_cdf,
    invert_cdfs,
    rank_weights,
)
from mmdynakd.functional.draws import GUMBEL
from mmdynakd.registry import MODELS

from .base import Choice, Selection
from .settings import column, granularity_of, number, weighting

Probs = str | Sequence[float] | Sequence[Sequence[float]] | Mapping[str, float | Sequence[float]]
Theta = list[float] | list[list[float]]


@MODELS.register_module()
class CategoricalDistribution(Selection):
    """Categorical distribution over the teachers; one teacher is drawn per step or per sample.

    Source: DynaKD, AAAI 2024, eqs. 1 and 4.

    Args:
        teachers: Names of the n teachers, in their order.
        probs: None learns θ = softmax(α / temperature), with α = 0 (uniform) at the start. A fixed
            θ is ``'uniform'``, the name of one teacher (one-hot), a sequence of n numbers, or
            ``{teacher: probability}`` (absent ones are 0). With ``num_classes``, each probability
            may be a list with one number per class.
        scores: ``{teacher: score}``: θ is fixed and proportional to the rank of the scores. With
            the teachers' accuracies it is SKDBERT's teacher-rank, with their students' accuracies
            its student-rank.
        weight_by_probability: Factor on the loss. ``'paper'``: θ̂, the probability of the teacher
            drawn (eq. 4). ``'none'``: 1. ``'normalized'``: θ̂ / Σθ², whose expectation is 1 for
            every θ, so that lanes with different θ keep one scale of the loss.
        granularity: ``'step'``: one draw for the whole batch. ``'sample'``: one draw per sample,
            each teacher running once on its share. That costs one teacher pass, and the student's
            gradient has less variance.
        num_classes: C makes θ class-conditional: Cat(θ_y), with one row per class y. The
            ``granularity`` is then ``'sample'``.
        temperature: t of θ = softmax(α / t). A higher t slows θ down.
        entropy_weight: λ: the upper step minimises ``L_val − λ H(θ)``, H in nats (mean over the
            classes).
        gumbel_temperature: τ: the upper step mixes with Gumbel-softmax weights ``softmax((log θ +
            g) / τ)`` instead of θ, with one g per step or per sample (Jang et al. and Maddison et
            al., ICLR 2017).

    Raises:
        ValueError: For no teachers, repeated or unknown names, a θ that is not a distribution, or
            an option with another value.

    Examples:
        >>> from mmdynakd.functional import Draws
        >>> theta = CategoricalDistribution(['strong', 'weak'], probs=[0.75, 0.25])
        >>> theta.choose(Draws(seed=0, step=0))
        Choice(weights={'strong': 1.0}, scale=0.75, rows={}, per_loss={})
        >>> ranked = CategoricalDistribution(['a', 'b', 'c'], scores=dict(a=70, b=60, c=60))
        >>> ranked.by_teacher()
        {'a': 0.5, 'b': 0.25, 'c': 0.25}
        >>> CategoricalDistribution(['strong', 'weak']).theta()
        tensor([0.5000, 0.5000], grad_fn=<SoftmaxBackward0>)
    """

    def __init__(
        self,
        teachers: Sequence[str],
        probs: Probs | None = None,
        scores: Mapping[str, float] | None = None,
        weight_by_probability: str = 'paper',
        granularity: str | None = None,
        num_classes: int | None = None,
        temperature: float = 1.0,
        entropy_weight: float = 0.0,
        gumbel_temperature: float | None = None,
    ) -> None:
        super().__init__(teachers)
        self.weight_by_probability = weighting(weight_by_probability)
        if probs is not None and scores is not None:
            raise ValueError('give probs or scores, not both')
        self.granularity = granularity_of(granularity, num_classes)
        self.temperature = number('temperature', temperature, positive=True)
        self.entropy_weight = number('entropy_weight', entropy_weight, positive=False)
        self.gumbel_temperature = (
            None
            if gumbel_temperature is None
            else number('gumbel_temperature', gumbel_temperature, positive=True)
        )
        self.num_classes = num_classes
        if scores is not None:
            probs = rank_weights(self.by_name(scores, 'scores', complete=True))
        self.learnable = probs is None
        if probs is None:
            n = len(self.teachers)
            self.alpha = nn.Parameter(torch.zeros(n if num_classes is None else (num_classes, n)))
        else:
            # A plain list, not a buffer: nothing may round it, move it or overwrite it on load.
            self._fixed = self._resolve(probs)

    @property
    def needs_labels(self) -> bool:
        """Whether each sample has a draw, or a θ, of its own."""
        return self.granularity == 'sample'

    def _resolve(self, probs: Any) -> Theta:
        n, rows = len(self.teachers), self.num_classes or 1
        if isinstance(probs, str):
            probs = [1 / n] * n if probs == 'uniform' else {probs: 1.0}
        if isinstance(probs, Mapping):
            probs = self.by_name(probs, 'probs', complete=False)
            if self.num_classes:
                probs = list(zip(*(column(value, rows) for value in probs)))
        if self.num_classes is None:
            return as_simplices([probs], 1, n)[0]
        by_class = (
            isinstance(probs, Sequence)
            and len(probs) == rows
            and all(isinstance(row, Sequence) for row in probs)
        )
        return as_simplices(probs if by_class else [probs] * rows, rows, n)

    def probs(self) -> Theta:
        """Return θ, n float64 numbers in the teachers' order, or C lists of them, one per class."""
        if not self.learnable:
            return self._fixed
        theta: Theta = torch.softmax(self.alpha.detach().double() / self.temperature, -1).tolist()
        return theta

    def by_teacher(self) -> dict[str, Any]:
        """Return ``{teacher: θ_i}``, as ``probs`` takes it; class-conditional θ_i are lists."""
        return dict(zip(self.teachers, np.asarray(self.probs()).T.tolist()))

    def marginal(self) -> dict[str, float]:
        """Return ``{teacher: θ_i}``, the mean over the classes where there are several rows."""
        return {teacher: float(np.mean(value)) for teacher, value in self.by_teacher().items()}

    def summary(self) -> dict[str, Any]:
        """Return θ, its entropy in nats, and the factor on the loss."""
        return dict(
            theta=self.by_teacher(),
            entropy=entropy(self.probs()),
            weight_by_probability=self.weight_by_probability,
        )

    def choose(self, draws: Draws, labels: torch.Tensor | None = None) -> Choice:
        """Draw one teacher, or one per sample, with the factor on the loss."""
        if self.granularity == 'sample':
            return self._choose_per_sample(draws, _given(labels))
        theta = np.array([self.probs()])
        index = invert_cdf(theta[0], draws.uniform())
        return Choice({self.teachers[index]: 1.0}, float(self._scale(theta, np.array([index]))[0]))

    def _choose_per_sample(self, draws: Draws, labels: torch.Tensor) -> Choice:
        theta = np.asarray(self.probs())
        theta = (
            theta[labels.cpu().numpy()]
            if self.num_classes
            else np.broadcast_to(theta, (len(labels), len(theta)))
        )
        index = invert_cdfs(theta, draws.per_sample(len(labels))[:, 0])
        drawn = torch.from_numpy(index).to(labels.device)
        employed = {i: self.teachers[i] for i in sorted(set(index.tolist()))}
        scale = torch.from_numpy(self._scale(theta, index)).to(labels.device)
        return Choice(
            {name: (drawn == i).float() for i, name in employed.items()},
            1.0 if self.weight_by_probability == 'none' else scale,
            {name: (drawn == i).nonzero()[:, 0] for i, name in employed.items()},
        )

    def _scale(self, theta: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Factor on the loss, (B,), from each row of θ (B, n) and the index drawn (B,)."""
        if self.weight_by_probability == 'none':
            return np.ones(len(index))
        scale: np.ndarray = np.take_along_axis(theta, index[:, None], axis=1)[:, 0]
        if self.weight_by_probability == 'normalized':
            return np.asarray(scale / (theta**2).sum(axis=1))
        return scale

    def theta(self) -> torch.Tensor:
        """Return θ, (n,) or (C, n), with a gradient to α."""
        return torch.softmax(self.alpha / self.temperature, dim=-1)

    def relax(
        self, theta: torch.Tensor, draws: Draws | None = None, labels: torch.Tensor | None = None
    ) -> Choice:
        """Employ all teachers, weighted by ``theta`` with gradient: the relaxation of eq. 3.

        Args:
            theta: (n,) or (C, n).
            draws: The step's random numbers, for the Gumbel noise.
            labels: (B,) class indices, if θ or the noise differs between samples.
        """
        if self.num_classes:
            theta = theta[_given(labels)]
        if self.gumbel_temperature is not None:
            noise = torch.from_numpy(gumbel(self._noise(_given(draws), labels))).to(theta)
            theta = torch.softmax((theta.log() + noise) / self.gumbel_temperature, dim=-1)
        return Choice(dict(zip(self.teachers, theta.unbind(-1))))

    def _noise(self, draws: Draws, labels: torch.Tensor | None) -> np.ndarray:
        """Uniform numbers, (n,) of the step or (B, n) of its samples."""
        n = len(self.teachers)
        if self.granularity == 'sample':
            return draws.per_sample(len(_given(labels)), n, GUMBEL)
        return draws.uniforms(n, GUMBEL)

    def regularizer(self, theta: torch.Tensor) -> torch.Tensor:
        """Return ``−λ H(θ)``, a scalar to be added to the upper loss."""
        entropies: torch.Tensor = torch.special.entr(theta).sum(-1)
        return -self.entropy_weight * entropies.mean()


def _given(value: Any) -> Any:
    if value is None:
        raise ValueError('this selection needs the labels and the draws of the step')
    return value
