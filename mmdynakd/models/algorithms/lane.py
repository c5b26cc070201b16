"""A lane: one student in training."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar, cast

import torch
from mmengine.registry import DefaultScope
from mmpretrain.models import BaseClassifier
from mmrazor.models.task_modules import RecorderManager
from torch import nn

from mmdynakd.functional import Draws
from mmdynakd.models.distillers import CategoricalDistiller
from mmdynakd.models.fast import plain_record
from mmdynakd.models.selections import CategoricalDistribution, Choice, Evidence, Selection
from mmdynakd.models.sync_bn import synchronize
from mmdynakd.models.teachers import OUTPUTS, TeacherEnsemble

from .batch import Batch, Losses

OBJECTIVES = ('first_order', 'unrolled')

Result = TypeVar('Result')


class Lane(nn.Module):
    """One student in training: student, selection and distiller.

    Args:
        student: MMPretrain classifier. It is called with ``mode='loss'``, so that recorders also
            see labels.
        selection: Who teaches.
        distiller: Compares the student with its teachers.
        student_loss_weight: Factor on the student's own (label) loss; 0 in the paper's L.
        upper_objective: ``'first_order'`` or ``'unrolled'``, see :mod:`.upper`.
        virtual_lr: ξ of the unrolled objective; None takes the current learning rate.

    Raises:
        ValueError: For another ``upper_objective``, or a ``virtual_lr`` that is not positive.

    Examples:
        >>> from mmdynakd.models.toy import toy_dynakd
        >>> lane = toy_dynakd(selection=dict(probs='strong')).lanes['search']
        >>> lane.learns_theta, lane.needs_labels
        (False, False)
        >>> lane.choose(Draws(seed=0, step=0), labels=None).weights
        {'strong': 1.0}
    """

    def __init__(
        self,
        student: BaseClassifier,
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
                f'virtual_lr must be > 0, or None for the current learning rate, got {virtual_lr!r}'
            )
        self.upper_objective, self.virtual_lr = upper_objective, virtual_lr
        self.student, self.selection, self.distiller = student, selection, distiller
        self.student_loss_weight = student_loss_weight
        self._logits: RecorderManager | None = None
        self._classify: Callable[[str, torch.Tensor], torch.Tensor] | None = None

    @property
    def learns_theta(self) -> bool:
        """Whether its θ is searched."""
        return self.selection.learnable

    @property
    def distribution(self) -> CategoricalDistribution:
        """Its selection, for a lane that learns θ."""
        return cast(CategoricalDistribution, self.selection)

    @property
    def needs_labels(self) -> bool:
        """Whether its selection looks at the labels."""
        return self.selection.needs_labels

    def prepare(self, ensemble: TeacherEnsemble) -> None:
        """Attach the recorders of the student and of the teachers."""
        self.distiller.prepare_from_student(self.student)
        self.distiller.prepare_from_teacher(ensemble)
        if self.selection.needs_evidence:
            self._logits = _logits_recorder(self.student)
            self._classify = ensemble.classify

    def synchronize(self) -> None:
        """Compute BatchNorm over the global batch.

        Raises:
            ValueError: If ranks may draw different teachers with a connector each. A rank that did
                not draw a teacher would not take part in the statistics of its connector.
        """
        if len(self.distiller.distillers) > 1 and self.selection.granularity == 'sample':
            raise ValueError(
                "sync_bn does not go with a distiller per teacher and granularity='sample': set "
                "sync_bn=False, or granularity='step'"
            )
        synchronize(self)

    def choose(self, draws: Draws, labels: torch.Tensor | None) -> Choice:
        """Say who must run in this step.

        Args:
            draws: The step's random numbers.
            labels: (B,) class indices, if ``needs_labels``.
        """
        return self.selection.choose(draws, labels)

    def forward(self, action: Callable[[], Result]) -> Result:
        """Call ``action``; in ``torch.func.functional_call`` the lane has other parameters."""
        return action()

    def loss(self, batch: Batch, choice: Choice) -> Losses:
        """Lower step (eq. 4): ``θ̂ · L_d(f_T̂(x), f_S(x; w))``, plus the weighted label loss.

        Args:
            batch: Of the training split, with the records of the teachers chosen.
            choice: What :meth:`choose` returned.

        Returns:
            Losses by name; the label loss is ``student.loss``.

        Raises:
            ValueError: For a distillation loss with the name of the total loss.
        """
        with self.recording(choice.weights):
            own = self.student(batch.inputs, batch.data_samples, mode='loss')
        weight = self.student_loss_weight
        losses: Losses = {}
        if weight:  # the prefix, as in MMRazor, leaves the name 'loss' to the total
            losses = {
                f'student.{key}': weight * value if 'loss' in key else value
                for key, value in own.items()
            }
        choice = self._weighed(choice, batch)
        losses.update(_distinct(self.distiller.compute_distill_losses(batch.records, choice)))
        return losses

    def _weighed(self, choice: Choice, batch: Batch) -> Choice:
        if not self.selection.needs_evidence:
            return choice
        assert self._logits is not None, 'prepare() comes before the first step'
        assert batch.labels is not None, 'a selection that needs evidence needs labels'
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
        assert self._classify is not None, 'prepare() comes before the first step'
        return self._classify(teacher, self.distiller.adapted_feature(teacher))

    @contextlib.contextmanager
    def recording(self, teachers: Iterable[str]) -> Iterator[None]:
        """Record the student's forward pass for the comparison with ``teachers``."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.distiller.recording(teachers))
            if self._logits is not None:
                stack.enter_context(self._logits)
            yield

    def forget(self) -> None:
        """Drop what was recorded of the student, and the graphs that depend on it."""
        self.distiller.forget()


def _logits_recorder(student: BaseClassifier) -> RecorderManager:
    """Record the output of the student's head, or of the whole network of a ``TimmClassifier``."""
    source = 'head' if hasattr(student, 'head') else 'model'
    with DefaultScope.overwrite_default_scope('mmrazor'):
        recorders = RecorderManager(dict(logits=dict(type='ModuleOutputs', source=source)))
    recorders.initialize(student)
    return recorders


def _distinct(distill: Losses) -> Losses:
    if 'loss' in distill:
        raise ValueError("distill_losses ['loss'] has the name of the total loss; rename it")
    return distill
