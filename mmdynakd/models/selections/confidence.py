"""CA-MKD: weights by the teachers' cross entropy with the label."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from mmdynakd.functional.weightings import confidence_weights
from mmdynakd.registry import MODELS

from .base import Choice, Evidence, Selection, stacked


@MODELS.register_module()
class ConfidenceAware(Selection):
    """CA-MKD: by sample, a teacher weighs more the closer it is to the label, see
    :func:`confidence_weights`.

    The lane needs ``mix='losses'`` and losses with ``reduction='none'``.

    Args:
        teachers: names of the n teachers.
        feature_losses: names of the losses that compare features: they are weighted by how well a
            teacher's own classifier reads the student's feature, behind that teacher's connector.
        as_in_code: divides by n once more, as the public code does.
    """

    needs_evidence = True

    def __init__(
        self, teachers: Sequence[str], feature_losses: Sequence[str] = (), as_in_code: bool = False
    ) -> None:
        super().__init__(teachers)
        self.feature_losses = list(feature_losses)
        self.factor = 1 / len(self.teachers) if as_in_code else 1.0

    def weigh(self, choice: Choice, evidence: Evidence) -> Choice:
        weights = self._weights(stacked(self.teachers, evidence), evidence.labels)
        if not self.feature_losses:
            return replace(choice, weights=weights)
        adapted = torch.stack([evidence.adapted_logits(teacher) for teacher in self.teachers])
        own = self._weights(adapted, evidence.labels)
        return replace(choice, weights=weights, per_loss=dict.fromkeys(self.feature_losses, own))

    def _weights(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return dict(zip(self.teachers, self.factor * confidence_weights(logits, labels)))
