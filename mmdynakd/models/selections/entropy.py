"""EBKD: weights by the entropy of the teachers' predictions."""

from collections.abc import Sequence
from dataclasses import replace

from mmdynakd.functional.weightings import entropy_weights
from mmdynakd.registry import MODELS

from .base import Choice, Evidence, Selection, stacked


@MODELS.register_module()
class EntropyWeighted(Selection):
    """EBKD: by sample, a teacher weighs more the surer it is, see :func:`entropy_weights`.

    The lane needs ``mix='losses'`` and a loss with ``reduction='none'``.

    Args:
        teachers: names of the n teachers.
        as_in_code: weights that sum to (n − 1)/n, as in the public code.
    """

    needs_evidence = True

    def __init__(self, teachers: Sequence[str], as_in_code: bool = False) -> None:
        super().__init__(teachers)
        self.factor = (len(self.teachers) - 1) / len(self.teachers) if as_in_code else 1.0

    def weigh(self, choice: Choice, evidence: Evidence) -> Choice:
        weights = self.factor * entropy_weights(stacked(self.teachers, evidence))
        return replace(choice, weights=dict(zip(self.teachers, weights)))
