"""A lane: one student in training."""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import torch
from mmengine.registry import DefaultScope
from mmrazor.models.task_modules import RecorderManager
from torch import nn

from mmdynakd.functional import Draws
from mmdynakd.models.distillers import CategoricalDistiller
from mmdynakd.models.fast import plain_record
from mmdynakd.models.selections import Choice, Evidence, Selection
from mmdynakd.models.sync_bn import synchronize
from mmdynakd.models.teachers import OUTPUTS, TeacherEnsemble

from .batch import Batch

Losses = dict[str, torch.Tensor]
OBJECTIVES = ('first_order', 'unrolled')


class Lane(nn.Module):
    """Student + selection + distiller.

    Args:
        student: MMPretrain classifier, called with ``mode='loss'`` so that recorders also see
            labels.
        selection: who teaches.
        distiller: compares student and teachers.
        student_loss_weight: factor on the student's own (label) loss; the paper's L has none (0).
        upper_objective: ``'first_order'`` or ``'unrolled'``, see :mod:`.upper`.
        virtual_lr: ξ of the unrolled objective; None is the learning rate at hand.

    Raises:
        ValueError: for another ``upper_objective``, or a ``virtual_lr`` that is not positive.
    """

    def __init__(
        self,
        student: nn.Module,
        selection: Selection,
        distiller: CategoricalDistiller,
        student_loss_weight: float,
        upper_objective: str = 'first_order',
        virtual_lr: float | None = None,
    ) -> None:
        super().__init__()
        if upper_objective not in OBJECTIVES:
            raise ValueError(
                f'upper_objective must be one of {OBJECTIVES}, got {upper_objective!r}'
            )
        if virtual_lr is not None and not virtual_lr > 0:
            raise ValueError(
                f'virtual_lr must be > 0, or None for the learning rate at hand, got {virtual_lr!r}'
            )
        self.upper_objective, self.virtual_lr = upper_objective, virtual_lr
        self.student, self.selection, self.distiller = student, selection, distiller
        self.student_loss_weight = student_loss_weight
        self._logits: RecorderManager | None = None
        self._ensemble: TeacherEnsemble | None = None

    @property
    def learns_theta(self) -> bool:
        return self.selection.learnable

    def prepare(self, ensemble: TeacherEnsemble) -> None:
        self.distiller.prepare_from_student(self.student)
        self.distiller.prepare_from_teacher(ensemble)
        if self.selection.needs_evidence:
            self._ensemble, self._logits = ensemble, _logits_recorder(self.student)

    def synchronize(self) -> None:
        """BatchNorm over the ranks.

        Raises:
            ValueError: where ranks may have drawn different teachers, each with a connector of its
                own: those that did not draw one would not take part in its statistics.
        """
        if len(self.distiller.distillers) > 1 and self.selection.granularity == 'sample':
            raise ValueError(
                "sync_bn does not go with a distiller a teacher and granularity='sample': set "
                "sync_bn=False, or granularity='step'"
            )
        synchronize(self)

    @property
    def needs_labels(self) -> bool:
        return self.selection.needs_labels

    def choose(self, draws: Draws, labels: torch.Tensor | None) -> Choice:
        return self.selection.choose(draws, labels)

    def forward(self, action: Callable[[], Any]) -> Any:
        """Calls ``action``: within ``torch.func.functional_call`` the lane has other parameters."""
        return action()

    def loss(self, batch: Batch, choice: Choice) -> Losses:
        """Lower step (eq. 4): ``θ̂ · L_d(f_T̂(x), f_S(x; w))``, plus the weighted label loss."""
        with self.recording(choice.weights):
            own = self.student(batch.inputs, batch.data_samples, mode='loss')
        weight = (
            self.student_loss_weight
        )  # the prefix, as MMRazor's, keeps the name 'loss' for the total
        losses = (
            {
                f'student.{key}': weight * value if 'loss' in key else value
                for key, value in own.items()
            }
            if weight
            else {}
        )
        choice = self._weighed(choice, batch)
        losses.update(_distinct(self.distiller.compute_distill_losses(batch.records, choice)))
        return losses

    def _weighed(self, choice: Choice, batch: Batch) -> Choice:
        if not self.selection.needs_evidence:
            return choice
        logits = self._logits.get_recorder('logits').get_record_data()
        return self.selection.weigh(
            choice,
            Evidence(
                batch.labels,
                plain_record(logits.detach()),
                {name: batch.records[name][OUTPUTS][0] for name in choice.weights},
                self._adapted_logits,
                1.0 if batch.share is None else batch.share,
            ),
        )

    @torch.no_grad()
    def _adapted_logits(self, teacher: str) -> torch.Tensor:
        return self._ensemble.classify(teacher, self.distiller.adapted_feature(teacher))

    @contextlib.contextmanager
    def recording(self, teachers: Iterable[str]):
        """Within it, the student's forward is recorded."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.distiller.recording(teachers))
            if self._logits is not None:
                stack.enter_context(self._logits)
            yield

    def forget(self) -> None:
        """Drops what was recorded of the student, and the graphs that hang on it."""
        self.distiller.forget()


def _logits_recorder(student: nn.Module) -> RecorderManager:
    """Records what the student's classifier gives: its head, or the whole network of a
    ``TimmClassifier``.
    """
    source = 'head' if hasattr(student, 'head') else 'model'
    with DefaultScope.overwrite_default_scope('mmrazor'):
        recorders = RecorderManager(dict(logits=dict(type='ModuleOutputs', source=source)))
    recorders.initialize(student)
    return recorders


def _distinct(distill: Losses) -> Losses:
    if 'loss' in distill:
        raise ValueError("distill_losses ['loss'] bears the name of the total loss; rename it")
    return distill
