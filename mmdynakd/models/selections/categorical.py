"""Cat(θ): learned (θ = softmax α) or fixed; one for all samples, or one a class."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from mmengine.logging import print_log
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

WEIGHTINGS = ('paper', 'none', 'normalized')
OLD_WEIGHTINGS = {True: 'paper', False: 'none'}  # as they were called
GRANULARITIES = ('step', 'sample')
MOST_CLASSES = 10**6


@MODELS.register_module()
class CategoricalDistribution(Selection):
    """Categorical distribution over the teachers; one is drawn a step, or a sample (DynaKD, eqs. 1
    and 4).

    Args:
        teachers: names of the n teachers, in their order.
        probs: None to learn θ = softmax(α / temperature), α initialised to 0 (uniform); or a fixed
            θ: ``'uniform'``, the name of one teacher (one-hot), a sequence of n numbers, or
            ``{teacher: probability}`` (absent ones are 0). With ``num_classes`` each probability
            may be a list, one a class.
        scores: ``{teacher: score}``: fixed θ proportional to the rank of the scores (SKDBERT's
            teacher-rank with the teachers' accuracies, student-rank with their students').
        weight_by_probability: factor on the loss: ``'paper'``, θ̂, the probability of the teacher
            drawn (eq. 4); ``'none'``, 1; ``'normalized'``, θ̂ / Σθ², whose expectation is 1 at
            every θ, so that lanes with different θ keep one loss scale.
        granularity: ``'step'``, one draw for the whole batch; ``'sample'``, one a sample, each
            teacher running once on its share: the cost of one teacher pass, and less variance in
            the student's gradient.
        num_classes: C makes θ class-conditional, Cat(θ_y) with a row a class y; ``granularity`` is
            ``'sample'``.
        temperature: t of θ = softmax(α / t): a higher one slows θ down.
        entropy_weight: λ: the upper step minimises ``L_val − λ H(θ)``, H in nats (mean over the
            classes).
        gumbel_temperature: τ: the upper step mixes with Gumbel-softmax weights ``softmax((log θ +
            g) / τ)`` (Jang et al. and Maddison et al., ICLR 2017), g one draw a step or a sample,
            instead of θ itself.

    Raises:
        ValueError: for no teachers, repeated or unknown names, a θ that is no simplex, or an option
            of another value.
    """

    def __init__(
        self,
        teachers: Sequence[str],
        probs: str | Sequence | Mapping | None = None,
        scores: Mapping[str, float] | None = None,
        weight_by_probability: str = 'paper',
        granularity: str | None = None,
        num_classes: int | None = None,
        temperature: float = 1.0,
        entropy_weight: float = 0.0,
        gumbel_temperature: float | None = None,
    ) -> None:
        super().__init__(teachers)
        self.weight_by_probability = _weighting(weight_by_probability)
        if probs is not None and scores is not None:
            raise ValueError('give probs or scores, not both')
        self.granularity = _granularity(granularity, num_classes)
        self.temperature = _number('temperature', temperature, positive=True)
        self.entropy_weight = _number('entropy_weight', entropy_weight, positive=False)
        self.gumbel_temperature = (
            None
            if gumbel_temperature is None
            else _number('gumbel_temperature', gumbel_temperature, positive=True)
        )
        self.num_classes = num_classes
        if scores is not None:
            probs = rank_weights(self.by_name(scores, 'scores', complete=True))
        self.learnable = probs is None
        if self.learnable:
            shape = (
                (len(self.teachers),) if num_classes is None else (num_classes, len(self.teachers))
            )
            self.alpha = nn.Parameter(torch.zeros(shape))
        else:
            # A plain list, not a buffer: nothing may round it, move it or overwrite it on load.
            self._fixed = self._resolve(probs)

    @property
    def needs_labels(self) -> bool:
        return self.granularity == 'sample'

    def _resolve(self, probs: str | Sequence | Mapping) -> list:
        n, rows = len(self.teachers), self.num_classes or 1
        if isinstance(probs, str):
            probs = [1 / n] * n if probs == 'uniform' else {probs: 1.0}
        if isinstance(probs, Mapping):
            probs = self.by_name(probs, 'probs', complete=False)
            probs = (
                list(zip(*(_column(value, rows) for value in probs))) if self.num_classes else probs
            )
        if self.num_classes is None:
            return as_simplices([probs], 1, n)[0]
        whole = (
            isinstance(probs, Sequence)
            and len(probs) == rows
            and all(isinstance(row, Sequence) for row in probs)
        )
        return as_simplices(probs if whole else [probs] * rows, rows, n)

    def probs(self) -> list:
        """θ, n float64 numbers in the teachers' order; a list of them a class where
        ``num_classes``.
        """
        if not self.learnable:
            return self._fixed
        return torch.softmax(self.alpha.detach().double() / self.temperature, dim=-1).tolist()

    def by_teacher(self) -> dict[str, float | list[float]]:
        """``{teacher: θ_i}``, or ``{teacher: [θ_i of each class]}``: what ``probs`` takes again."""
        probs = self.probs()
        columns = probs if self.num_classes is None else [list(column) for column in zip(*probs)]
        return dict(zip(self.teachers, columns))

    def marginal(self) -> dict[str, float]:
        """``{teacher: θ_i}``, the mean over the classes where there are several rows."""
        return {teacher: float(np.mean(value)) for teacher, value in self.by_teacher().items()}

    def summary(self) -> dict:
        return dict(
            theta=self.by_teacher(),
            entropy=entropy(self.probs()),
            weight_by_probability=self.weight_by_probability,
        )

    def choose(self, draws: Draws, labels: torch.Tensor | None = None) -> Choice:
        """The teacher drawn, with its weight in the loss; of each sample where
        ``granularity='sample'``.
        """
        if self.granularity == 'sample':
            return self._choose_per_sample(draws, labels)
        probs = self.probs()
        index = invert_cdf(probs, draws.uniform())
        return Choice(
            {self.teachers[index]: 1.0}, float(self._scale(np.array([probs]), np.array([index]))[0])
        )

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
        """θ̂ of each row of θ (B, n) at the index drawn (B,), as ``weight_by_probability`` wants
        it.
        """
        if self.weight_by_probability == 'none':
            return np.ones(len(index))
        scale = np.take_along_axis(theta, index[:, None], axis=1)[:, 0]
        return (
            scale / (theta**2).sum(axis=1) if self.weight_by_probability == 'normalized' else scale
        )

    def theta(self) -> torch.Tensor:
        """θ, (n,) or (C, n), with gradient to α."""
        return torch.softmax(self.alpha / self.temperature, dim=-1)

    def relax(
        self, theta: torch.Tensor, draws: Draws | None = None, labels: torch.Tensor | None = None
    ) -> Choice:
        """All teachers, weighted by ``theta`` with gradient: the continuous relaxation (eq. 3).

        Args:
            theta: (n,) or (C, n).
            draws: the step's random numbers, for the Gumbel noise.
            labels: (B,) class indices, where θ or the noise is one a sample.
        """
        if self.num_classes:
            theta = theta[labels]
        if self.gumbel_temperature is not None:
            n = len(self.teachers)
            noise = (
                draws.per_sample(len(labels), n, GUMBEL)
                if self.granularity == 'sample'
                else draws.uniforms(n, GUMBEL)
            )
            noise = torch.from_numpy(gumbel(noise)).to(theta)
            theta = torch.softmax((theta.log() + noise) / self.gumbel_temperature, dim=-1)
        return Choice(dict(zip(self.teachers, theta.unbind(-1))))

    def regularizer(self, theta: torch.Tensor) -> torch.Tensor:
        """``−λ H(θ)``, to be added to the upper loss."""
        return -self.entropy_weight * torch.special.entr(theta).sum(-1).mean()


def _weighting(value: object) -> str:
    """One of ``WEIGHTINGS``; True and False, its old values, still count and are warned of."""
    if isinstance(value, str) and value in WEIGHTINGS:
        return value
    if isinstance(value, (bool, int, np.bool_)) and value in (0, 1):
        new = OLD_WEIGHTINGS[bool(value)]
        print_log(
            f'weight_by_probability={value!r} is deprecated and will be an error in the next '
            f'version: write weight_by_probability={new!r}',
            'current',
            logging.WARNING,
        )
        return new
    raise ValueError(f'weight_by_probability must be one of {WEIGHTINGS}, got {value!r}')


def _granularity(granularity: str | None, num_classes: int | None) -> str:
    if num_classes is not None and (
        isinstance(num_classes, bool)
        or not isinstance(num_classes, int)
        or not 1 <= num_classes <= MOST_CLASSES
    ):
        raise ValueError(
            f'num_classes must be an integer from 1 to {MOST_CLASSES}, got {num_classes!r}'
        )
    granularity = granularity or ('sample' if num_classes else 'step')
    if granularity not in GRANULARITIES or (num_classes and granularity == 'step'):
        raise ValueError(
            f"granularity must be one of {GRANULARITIES}, and 'sample' where num_classes is given, "
            f'got {granularity!r}'
        )
    return granularity


def _number(key: str, value: float, positive: bool) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
    if not good or value < 0 or (positive and value == 0):
        raise ValueError(
            f'{key} must be a finite number {"> 0" if positive else ">= 0"}, got {value!r}'
        )
    return float(value)


def _column(value: float | Sequence[float], rows: int) -> Sequence[float]:
    """A teacher's probability in every class."""
    if not isinstance(value, Sequence):
        return [value] * rows
    if len(value) != rows:
        raise ValueError(f'probs of {len(value)} classes, where num_classes={rows}')
    return value
