"""No teacher: the student learns from the labels only."""

from collections.abc import Sequence

import torch

from mmdynakd.functional import Draws
from mmdynakd.registry import MODELS

from .base import Choice, Selection


@MODELS.register_module()
class LabelsOnly(Selection):
    """Nobody teaches, so the student learns from the labels only.

    A lane with ``selection=None`` gets this selection.

    Args:
        teachers: Ignored. Every selection is built with the names of the teachers.

    Examples:
        >>> from mmdynakd.functional import Draws
        >>> nobody = LabelsOnly(['resnet56', 'resnet44'])
        >>> nobody.teachers, nobody.kind
        ([], None)
        >>> nobody.choose(Draws(seed=0, step=0)).weights
        {}
    """

    def __init__(self, teachers: Sequence[str] = ()) -> None:
        super().__init__(())

    @property
    def kind(self) -> None:
        """None, so ``results.json`` says ``selection: null`` for such a lane."""
        return None

    def check_teachers(self) -> None:
        """Accept the empty list of teachers."""

    def choose(self, draws: Draws, labels: torch.Tensor | None = None) -> Choice:
        """Choose no teacher, whatever the draws."""
        return Choice({})
