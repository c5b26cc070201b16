"""AEKD: weights on which the teachers' gradients agree."""

from collections.abc import Sequence
from dataclasses import replace

from mmengine.dist import all_reduce

from mmdynakd.functional.weightings import kd_gradients, min_norm_weights
from mmdynakd.registry import MODELS

from .base import Choice, Evidence, Selection, precise, stacked


@MODELS.register_module()
class GradientSpace(Selection):
    """AEKD: in each step, the weights under which the teachers' gradients agree.

    See :func:`min_norm_weights` for the problem that is solved. The gradients are those of the KL
    divergence at temperature ``tau`` with respect to the student's logits, averaged over the batch
    and over the processes.

    Source: Du et al., NeurIPS 2020.

    Args:
        teachers: Names of the n teachers.
        tau: Temperature of the distillation loss.
        max_weight: C, the tolerance of disagreement; 0.6 in the authors' code.

    Raises:
        ValueError: If ``tau`` or ``max_weight`` is not positive.

    Examples:
        >>> import torch
        >>> near, far = torch.tensor([[1.0, 0.0]]), torch.tensor([[9.0, 0.0]])
        >>> logits = {'near': near, 'far': far}
        >>> seen = Evidence(torch.tensor([0]), torch.zeros(1, 2), logits, lambda teacher: near)
        >>> weights = GradientSpace(['near', 'far'], max_weight=0.6).weigh(Choice({}), seen).weights
        >>> {name: round(float(weight), 3) for name, weight in weights.items()}
        {'near': 0.6, 'far': 0.4}
    """

    needs_evidence = True

    def __init__(self, teachers: Sequence[str], tau: float = 4.0, max_weight: float = 0.6) -> None:
        super().__init__(teachers)
        if not tau > 0 or not max_weight > 0:
            raise ValueError(f'tau and max_weight must be > 0, got {tau!r} and {max_weight!r}')
        self.tau, self.max_weight = tau, max_weight

    def weigh(self, choice: Choice, evidence: Evidence) -> Choice:
        """Weigh the teachers of the global batch by their gradients."""
        gradients = kd_gradients(
            precise(evidence.student_logits), stacked(self.teachers, evidence), self.tau
        )
        gradients = gradients * evidence.share
        all_reduce(gradients, op='mean')
        return replace(
            choice, weights=dict(zip(self.teachers, min_norm_weights(gradients, self.max_weight)))
        )
