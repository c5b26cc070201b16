"""AEKD: weights on which the teachers' gradients agree."""

from collections.abc import Sequence
from dataclasses import replace

from mmengine.dist import all_reduce

from mmdynakd.functional.weightings import kd_gradients, min_norm_weights
from mmdynakd.registry import MODELS

from .base import Choice, Evidence, Selection, precise, stacked


@MODELS.register_module()
class GradientSpace(Selection):
    """AEKD: by step, the weights under which the teachers' gradients agree, see
    :func:`min_norm_weights`.

    The gradients are those of KL at temperature ``tau`` with respect to the student's logits,
    averaged over the batch and over the processes.

    Args:
        teachers: names of the n teachers.
        tau: temperature of the distillation loss.
        max_weight: C, the tolerance of disagreement; 0.6 in the authors' code.

    Raises:
        ValueError: for a ``tau`` or ``max_weight`` that is not positive.
    """

    needs_evidence = True

    def __init__(self, teachers: Sequence[str], tau: float = 4.0, max_weight: float = 0.6) -> None:
        super().__init__(teachers)
        if not tau > 0 or not max_weight > 0:
            raise ValueError(f'tau and max_weight must be > 0, got {tau!r} and {max_weight!r}')
        self.tau, self.max_weight = tau, max_weight

    def weigh(self, choice: Choice, evidence: Evidence) -> Choice:
        gradients = kd_gradients(
            precise(evidence.student_logits), stacked(self.teachers, evidence), self.tau
        )
        gradients = gradients * evidence.share
        all_reduce(gradients, op='mean')
        return replace(
            choice, weights=dict(zip(self.teachers, min_norm_weights(gradients, self.max_weight)))
        )
