"""A lane: one student in training."""
import contextlib
from collections.abc import Iterable

import torch
from torch import nn

from mmdynakd.functional import NoHypergradientError, first_order
from mmdynakd.models.distillers import CategoricalDistiller
from mmdynakd.models.selections import CategoricalDistribution, Choice
from mmdynakd.models.teachers import TeacherEnsemble
from mmdynakd.models.teachers.ensemble import Records

Losses = dict[str, torch.Tensor]


class Lane(nn.Module):
    """Student + selection + distiller.

    Args:
        student: MMPretrain classifier, called with ``mode='loss'`` so that recorders also see labels.
        selection: who teaches; None trains on the labels alone.
        distiller: compares student and teachers; None with ``selection`` None.
        student_loss_weight: factor on the student's own (label) loss; the paper's L has none (0).
    """

    def __init__(self, student: nn.Module, selection: CategoricalDistribution | None,
                 distiller: CategoricalDistiller | None, student_loss_weight: float) -> None:
        super().__init__()
        self.student, self.selection, self.distiller = student, selection, distiller
        self.student_loss_weight = student_loss_weight

    @property
    def learns_theta(self) -> bool:
        return self.selection is not None and self.selection.learnable

    def prepare(self, ensemble: TeacherEnsemble) -> None:
        if self.distiller is not None:
            self.distiller.prepare_from_student(self.student)
            self.distiller.prepare_from_teacher(ensemble)

    def choose(self, u: float) -> Choice:
        return self.selection.choose(u) if self.selection is not None else Choice({})

    def loss(self, inputs: torch.Tensor, data_samples: list, records: Records, choice: Choice) -> Losses:
        """Lower step (eq. 4): ``θ̂ · L_d(f_T̂(x), f_S(x; w))``, plus the weighted label loss.

        Args:
            inputs: (B, C, H, W), under the student's preprocessor.
            data_samples: B samples with labels.
            records: of the teachers in ``choice``.
        """
        with self._recording(choice.weights):
            own = self.student(inputs, data_samples, mode='loss')
        weight = self.student_loss_weight  # the prefix, as MMRazor's, keeps the name 'loss' for the total
        losses = {f'student.{key}': weight * value if 'loss' in key else value for key, value in own.items()} \
            if weight else {}
        if choice.weights:
            losses.update(_distinct(self.distiller.compute_distill_losses(records, choice)))
        return losses

    def upper_loss(self, inputs: torch.Tensor, data_samples: list, records: Records) -> torch.Tensor:
        """Upper step (eq. 3): scalar ``L_d(Σ_i θ_i f_Ti(x), f_S(x))``, its gradient reaching α alone.

        The student is frozen: eval mode, no gradient, its BatchNorm buffers untouched.
        """
        training = self.training
        self.eval()
        try:
            with torch.no_grad(), self._recording(self.selection.teachers):
                self.student(inputs, data_samples, mode='loss')
            return first_order(self.selection.alpha, lambda theta: self._relaxed_loss(records, theta))
        except NoHypergradientError as error:
            names = [n for d in self.distiller.distillers.values() for n in d.distill_losses]
            raise NoHypergradientError(f"{error}: one of the losses {names} detaches the teacher; set its "
                                       'teacher_detach=False') from error
        finally:
            self.train(training)

    def _relaxed_loss(self, records: Records, theta: torch.Tensor) -> torch.Tensor:
        losses = self.distiller.compute_distill_losses(records, self.selection.relax(theta))
        return sum(value.mean() for key, value in losses.items() if 'loss' in key)

    def _recording(self, teachers: Iterable[str]) -> contextlib.AbstractContextManager:
        return self.distiller.recording(teachers) if self.distiller is not None else contextlib.nullcontext()


def _distinct(distill: Losses) -> Losses:
    if 'loss' in distill:
        raise ValueError("distill_losses ['loss'] bears the name of the total loss; rename it")
    return distill
