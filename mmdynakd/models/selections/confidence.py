"""CA-MKD: weights by the teachers' cross entropy with the label."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from mmdynakd.functional.mixing import Weight
from mmdynakd.functional.weightings import confidence_weights
from mmdynakd.registry import MODELS

from .base import Choice, Evidence, Selection, stacked


@MODELS.register_module()
class ConfidenceAware(Selection):
    """CA-MKD: for each sample, a teacher weighs more the closer it is to the label.

    See :func:`confidence_weights` for the equation. The lane needs ``mix='losses'`` and losses with
    ``reduction='none'``.

    Source: Zhang et al., "Confidence-Aware Multi-Teacher Knowledge Distillation", ICASSP 2022.

    Args:
        teachers: Names of the n teachers.
        feature_losses: Names of the losses that compare features. Their weights depend on how well
            a teacher's own classifier reads the student's feature, after that teacher's connector.
        as_in_code: Divide by n once more, as the public code does.

    Examples:
        >>> sure, unsure = torch.tensor([[9.0, 0.0]]), torch.tensor([[0.0, 0.0]])
        >>> logits = {'sure': sure, 'unsure': unsure}
        >>> seen = Evidence(torch.tensor([0]), sure, logits, lambda teacher: sure)
        >>> choice = ConfidenceAware(['sure', 'unsure']).weigh(Choice({}), seen)
        >>> {name: round(float(weight), 2) for name, weight in choice.weights.items()}
        {'sure': 0.67, 'unsure': 0.33}
    """

    needs_evidence = True

    def __init__(
        self, teachers: Sequence[str], feature_losses: Sequence[str] = (), as_in_code: bool = False
    ) -> None:
        super().__init__(teachers)
        self.feature_losses = list(feature_losses)
        self.factor = 1 / len(self.teachers) if as_in_code else 1.0

    def weigh(self, choice: Choice, evidence: Evidence) -> Choice:
        """Weigh the teachers of each sample by their cross entropy with its label."""
        weights = self._weights(stacked(self.teachers, evidence), evidence.labels)
        if not self.feature_losses:
            return replace(choice, weights=weights)
        adapted = torch.stack([evidence.adapted_logits(teacher) for teacher in self.teachers])
        own = self._weights(adapted, evidence.labels)
        return replace(choice, weights=weights, per_loss=dict.fromkeys(self.feature_losses, own))

    def _weights(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, Weight]:
        return dict(zip(self.teachers, self.factor * confidence_weights(logits, labels)))
