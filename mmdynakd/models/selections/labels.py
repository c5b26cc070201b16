"""No teacher: the labels are all that a student learns from."""

from collections.abc import Sequence

import torch

from mmdynakd.functional import Draws
from mmdynakd.registry import MODELS

from .base import Choice, Selection


@MODELS.register_module()
class LabelsOnly(Selection):
    """Nobody teaches: the student learns from the labels only.

    A lane with ``selection=None`` has it.

    Args:
        teachers: ignored; here because every selection is given the names of the teachers.

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
        """None: ``results.json`` says ``selection: null`` of such a lane."""
        return None

    def check_teachers(self) -> None:
        """Needs no teacher."""

    def choose(self, draws: Draws, labels: torch.Tensor | None = None) -> Choice:
        """No teacher, whatever the draws."""
        return Choice({})
