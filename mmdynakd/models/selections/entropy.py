"""EBKD: weights by the entropy of the teachers' predictions."""

from collections.abc import Sequence
from dataclasses import replace

from mmdynakd.functional.weightings import entropy_weights
from mmdynakd.registry import MODELS

from .base import Choice, Evidence, Selection, stacked


@MODELS.register_module()
class EntropyWeighted(Selection):
    """EBKD: for each sample, a teacher weighs more the surer it is.

    See :func:`entropy_weights` for the equation. The lane needs ``mix='losses'`` and a loss with
    ``reduction='none'``.

    Source: Kwon et al., ICASSP 2020.

    Args:
        teachers: Names of the n teachers.
        as_in_code: Use weights that sum to (n − 1)/n, as in the public code.

    Examples:
        >>> import torch
        >>> sure, unsure = torch.tensor([[99.0, 0.0]]), torch.tensor([[0.0, 0.0]])
        >>> logits = {'sure': sure, 'unsure': unsure}
        >>> seen = Evidence(torch.tensor([0]), sure, logits, lambda teacher: sure)
        >>> EntropyWeighted(['sure', 'unsure']).weigh(Choice({}), seen).weights
        {'sure': tensor([1.]), 'unsure': tensor([0.])}
    """

    needs_evidence = True

    def __init__(self, teachers: Sequence[str], as_in_code: bool = False) -> None:
        super().__init__(teachers)
        self.factor = (len(self.teachers) - 1) / len(self.teachers) if as_in_code else 1.0

    def weigh(self, choice: Choice, evidence: Evidence) -> Choice:
        """Weigh the teachers of each sample by the entropy of their predictions."""
        weights = self.factor * entropy_weights(stacked(self.teachers, evidence))
        return replace(choice, weights=dict(zip(self.teachers, weights)))
