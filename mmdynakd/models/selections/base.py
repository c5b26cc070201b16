"""The interface of a selection."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from mmdynakd.functional import Draws
from mmdynakd.functional.mixing import Weight
from mmdynakd.names import unknown_names


@dataclass(frozen=True)
class Choice:
    """Who teaches in one step.

    Attributes:
        weights: ``{teacher: weight}`` for the teachers that must run; the mix multiplies by them. A
            weight is a number, a 0-dim tensor, or (B,) with one weight per sample. A draw has one
            teacher of weight 1.
        scale: Factor on the distillation loss (θ̂ in eq. 4), a number or (B,).
        rows: ``{teacher: (k,) indices}`` of the samples that a teacher must see, where it does not
            need to see all of them. Its weight is 0 for the others.
        per_loss: ``{loss name: weights}`` for losses with weights of their own. They need
            ``mix='losses'``.

    Examples:
        >>> drawn = Choice({'resnet56': 1.0}, scale=0.25)
        >>> list(drawn.weights), drawn.scale
        (['resnet56'], 0.25)
    """

    weights: Mapping[str, Weight]
    scale: Weight = 1.0
    rows: Mapping[str, torch.Tensor] = field(default_factory=dict)
    per_loss: Mapping[str, Mapping[str, Weight]] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """What a rule may look at once teachers and student have run. Nothing in it has a gradient.

    Attributes:
        labels: (B,) class indices.
        student_logits: (B, C).
        teacher_logits: ``{teacher: (B, C)}``.
        adapted_logits: Maps a teacher's name to (B, C): its classifier applied to the student's
            feature, after that teacher's connector.
        share: Share of this rank in the global batch, see
            :func:`mmdynakd.models.algorithms.batch.share_of`.

    Examples:
        >>> logits = torch.tensor([[2.0, 0.0]])
        >>> seen = Evidence(torch.tensor([0]), logits, {'strong': 2 * logits}, {}.get)
        >>> seen.teacher_logits['strong']
        tensor([[4., 0.]])
    """

    labels: torch.Tensor
    student_logits: torch.Tensor
    teacher_logits: Mapping[str, torch.Tensor]
    adapted_logits: Callable[[str], torch.Tensor]
    share: torch.Tensor | float = 1.0


class Selection(nn.Module):
    """Say who teaches in a step. This base class employs all teachers with weight 1/n.

    Args:
        teachers: Names of the n teachers, in their order.

    Attributes:
        learnable: Whether its θ is searched.
        needs_evidence: Whether :meth:`weigh` looks at what teachers and student say.
        granularity: ``'step'`` or ``'sample'``, if each sample may have a teacher of its own.

    Raises:
        ValueError: For no teachers, or repeated names.

    Examples:
        >>> from mmdynakd.functional import Draws
        >>> selection = Selection(['strong', 'weak'])
        >>> selection.choose(Draws(seed=0, step=0)).weights
        {'strong': 0.5, 'weak': 0.5}
    """

    learnable = False
    needs_evidence = False
    granularity = 'step'

    def __init__(self, teachers: Sequence[str]) -> None:
        super().__init__()
        self.teachers = list(teachers)
        self.check_teachers()

    def check_teachers(self) -> None:
        """Raise ValueError for no teachers, or repeated names."""
        if not self.teachers:
            raise ValueError('a selection needs at least one teacher')
        if len(set(self.teachers)) < len(self.teachers):
            raise ValueError(f'teacher names repeat: {self.teachers}')

    @property
    def kind(self) -> str | None:
        """Its name in ``results.json``; None for a selection without teachers."""
        return type(self).__name__

    @property
    def needs_labels(self) -> bool:
        """Whether :meth:`choose` or :meth:`weigh` looks at the labels."""
        return self.needs_evidence

    def choose(self, draws: Draws, labels: torch.Tensor | None = None) -> Choice:
        """Say who must run in this step, before anything runs.

        Args:
            draws: The step's random numbers.
            labels: (B,) class indices on the batch's device, if ``needs_labels``.

        Returns:
            The choice, with its weights where they are known already.
        """
        return Choice(dict.fromkeys(self.teachers, 1 / len(self.teachers)))

    def weigh(self, choice: Choice, evidence: Evidence) -> Choice:
        """Give the choice its weights, after teachers and student ran, if ``needs_evidence``."""
        return choice

    def summary(self) -> dict[str, Any]:
        """Return what a report says of it: JSON values by name."""
        return {}

    def by_name(self, values: Mapping[str, Any], key: str, complete: bool) -> list[Any]:
        """List values in the order of the teachers; absent ones are 0.

        Args:
            values: ``{teacher: value}``.
            key: Name of the setting, for the message.
            complete: Whether every teacher must have a value.

        Raises:
            ValueError: For unknown names, or for missing ones where ``complete``.
        """
        unknown = unknown_names(values, self.teachers)
        missing = [t for t in self.teachers if t not in values] if complete else []
        if unknown or missing:
            raise ValueError(
                f'{key} must use the names of the teachers {self.teachers}; '
                f'unknown: [{unknown}], missing: {missing}'
            )
        return [values.get(t, 0.0) for t in self.teachers]


def stacked(teachers: Sequence[str], evidence: Evidence) -> torch.Tensor:
    """Stack the teachers' logits, (n, B, C), in single precision or better.

    Examples:
        >>> half = torch.zeros(4, 10, dtype=torch.float16)
        >>> seen = Evidence(torch.zeros(4), half, {'a': half, 'b': half}, {}.get)
        >>> stacked(['a', 'b'], seen).shape, stacked(['a', 'b'], seen).dtype
        (torch.Size([2, 4, 10]), torch.float32)
    """
    return precise(torch.stack([evidence.teacher_logits[teacher] for teacher in teachers]))


def precise(logits: torch.Tensor) -> torch.Tensor:
    """Convert logits to float32, unless they are float64.

    Examples:
        >>> precise(torch.zeros(1, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return logits if logits.dtype == torch.float64 else logits.float()
