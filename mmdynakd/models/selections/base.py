"""The interface of a selection."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from mmdynakd.functional import Draws
from mmdynakd.functional.mixing import Weight
from mmdynakd.names import unknown_names


@dataclass(frozen=True)
class Choice:
    """Who teaches in one step.

    Attributes:
        weights: ``{teacher: weight}`` of the teachers that must run; what the mix multiplies. A
            weight is a number, a 0-dim tensor or (B,), one a sample. A draw has one teacher, of
            weight 1.
        scale: factor on the distillation loss (θ̂ in eq. 4), a number or (B,).
        rows: ``{teacher: (k,) indices}`` of the samples that a teacher must see, where not all; its
            weight is 0 for the others.
        per_loss: ``{loss name: weights}`` where a loss has weights of its own; needs mixed losses.
    """

    weights: dict[str, Weight]
    scale: Weight = 1.0
    rows: dict[str, torch.Tensor] = field(default_factory=dict)
    per_loss: dict[str, dict[str, Weight]] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """What a rule may look at once teachers and student have run; nothing has a gradient.

    Attributes:
        labels: (B,) class indices.
        student_logits: (B, C).
        teacher_logits: ``{teacher: (B, C)}``.
        adapted_logits: maps a teacher to (B, C), its own classifier on the student's feature behind
            that teacher's connector.
        share: of this rank in the global batch, see
            :func:`mmdynakd.models.algorithms.batch.share_of`.
    """

    labels: torch.Tensor
    student_logits: torch.Tensor
    teacher_logits: Mapping[str, torch.Tensor]
    adapted_logits: Callable[[str], torch.Tensor]
    share: torch.Tensor | float = 1.0


class Selection(nn.Module):
    """Who teaches: by default all, with the weight 1/n.

    Args:
        teachers: names of the n teachers, in their order.

    Raises:
        ValueError: for no teachers, or repeated names.
    """

    learnable = False
    needs_evidence = False  # whether :meth:`weigh` looks at outputs
    granularity = 'step'  # or 'sample': one teacher a sample

    def __init__(self, teachers: Sequence[str]) -> None:
        super().__init__()
        self.teachers = list(teachers)
        self.check_teachers()

    def check_teachers(self) -> None:
        """Raises ValueError for no teachers, or repeated names."""
        if not self.teachers:
            raise ValueError('a selection needs at least one teacher')
        if len(set(self.teachers)) < len(self.teachers):
            raise ValueError(f'teacher names repeat: {self.teachers}')

    @property
    def kind(self) -> str | None:
        """What ``results.json`` calls it; None for one without teachers."""
        return type(self).__name__

    @property
    def needs_labels(self) -> bool:
        return self.needs_evidence

    def choose(self, draws: Draws, labels: torch.Tensor | None = None) -> Choice:
        """Before anything runs: who must run in this step, and, where they are known already, the
        weights.

        Args:
            draws: the step's random numbers.
            labels: (B,) class indices, on the batch's device, where ``needs_labels``.
        """
        return Choice(dict.fromkeys(self.teachers, 1 / len(self.teachers)))

    def weigh(self, choice: Choice, evidence: Evidence) -> Choice:
        """After teachers and student ran, where ``needs_evidence``: the choice with its weights."""
        return choice

    def summary(self) -> dict:
        """What a report says of it, as JSON: numbers by name."""
        return {}

    def by_name(self, values: Mapping, key: str, complete: bool) -> list:
        """The teachers' values in their order, absent ones 0.

        Raises:
            ValueError: for unknown names, or missing ones where ``complete``.
        """
        unknown = unknown_names(values, self.teachers)
        missing = [t for t in self.teachers if t not in values] if complete else []
        if unknown or missing:
            raise ValueError(
                f'{key} names the teachers {self.teachers}; unknown: [{unknown}], missing: '
                f'{missing}'
            )
        return [values.get(t, 0.0) for t in self.teachers]


def stacked(teachers: Sequence[str], evidence: Evidence) -> torch.Tensor:
    """(n, B, C) logits of the teachers, in single precision at least."""
    return precise(torch.stack([evidence.teacher_logits[teacher] for teacher in teachers]))


def precise(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
