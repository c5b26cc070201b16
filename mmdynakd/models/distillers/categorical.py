"""MMRazor distillers, pointed at the teacher drawn or at the relaxed one."""
import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from mmengine.registry import DefaultScope
from mmrazor.models.distillers import BaseDistiller
from torch import nn

from mmdynakd.models.selections import Choice
from mmdynakd.models.teachers import TeacherEnsemble, TeacherView
from mmdynakd.models.teachers.ensemble import Records
from mmdynakd.registry import MODELS

from .checks import check_config, check_losses, check_theta_gradient

RELAXATIONS = ('outputs', 'losses')
SHARED = 'shared'


@MODELS.register_module()
class CategoricalDistiller(BaseDistiller):
    """Compares the student with the teachers that a selection chose, through unmodified MMRazor distillers.

    Args:
        distiller: config of a MMRazor distiller, ``type`` by default ``ConfigurableDistiller``, MMRazor's names
            without a prefix; one for all teachers, or one per teacher by name.
        teachers: names of the teachers, in order.
        relaxation: what several weighted teachers mix: ``'outputs'``, their records, then one loss (eq. 3), or
            ``'losses'``, ``Σ_i θ_i L_d(f_Ti, f_S)``, for features whose shapes differ.
        learnable: whether θ is searched, so that traps in the upper step are errors now.

    Raises:
        ValueError: unknown ``relaxation`` or teacher name, missing teacher, deliveries, a per-teacher distiller
            with mixed outputs, no loss by name, or a loss that detaches the teacher while θ is searched.
    """

    def __init__(self,
                 distiller: Mapping,
                 teachers: Sequence[str],
                 relaxation: str = 'outputs',
                 learnable: bool = False,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if relaxation not in RELAXATIONS:
            raise ValueError(f'relaxation must be one of {RELAXATIONS}, got {relaxation!r}')
        self.relaxation = relaxation
        self.teachers = list(teachers)
        configs = self._by_teacher(distiller)
        check_losses(configs)
        if learnable and relaxation == 'outputs':
            check_theta_gradient(configs)
        self._recorder_configs = {name: dict(cfg.get('teacher_recorders') or {}) for name, cfg in configs.items()}
        self.distillers = nn.ModuleDict({name: _build(cfg) for name, cfg in configs.items()})
        self._shared = _is_one(distiller)  # not by the key: a teacher may be called so

    def _by_teacher(self, distiller: Mapping) -> dict[str, dict]:
        if not isinstance(distiller, Mapping) or not distiller:
            raise ValueError(f'distiller must be a MMRazor distiller config, got {distiller!r}')
        if _is_one(distiller):
            return {SHARED: dict(distiller)}
        unknown = sorted(set(distiller) - set(self.teachers))
        missing = [t for t in self.teachers if t not in distiller]
        if unknown or missing:
            raise ValueError(f'a per-teacher distiller names the teachers {self.teachers}; '
                             f'unknown: {unknown}, missing: {missing}')
        if self.relaxation == 'outputs':
            raise ValueError("a distiller per teacher cannot compare one mixed output: set relaxation='losses'")
        return {name: dict(cfg) for name, cfg in distiller.items()}

    def of(self, teacher: str) -> nn.Module:
        """The MMRazor distiller that compares the student with ``teacher``."""
        return self.distillers[SHARED if self._shared else teacher]

    def prepare_from_student(self, model: nn.Module) -> None:
        for distiller in self.distillers.values():
            try:
                distiller.prepare_from_student(model)
            except AssertionError as error:
                raise ValueError(f'student_recorders of the distiller: no such source in the student '
                                 f'{type(model).__name__} ({error})') from error

    def prepare_from_teacher(self, ensemble: TeacherEnsemble) -> None:
        """Asks the ensemble for the recorders that each teacher's distiller reads."""
        for name, distiller in self.distillers.items():
            teachers = self.teachers if self._shared else [name]
            distiller.teacher_recorders = TeacherView({
                recorder: {teacher: ensemble.record(teacher, cfg) for teacher in teachers}
                for recorder, cfg in self._recorder_configs[name].items()
            })

    @contextlib.contextmanager
    def recording(self, teachers: Iterable[str] | None = None) -> Iterator[None]:
        """Within it, the student's forward is recorded for the comparison with ``teachers``, by default all."""
        with contextlib.ExitStack() as stack:
            for distiller in dict.fromkeys(map(self.of, self.teachers if teachers is None else teachers)):
                stack.enter_context(distiller.student_recorders)
            yield

    def compute_distill_losses(self, records: Records, choice: Choice) -> dict[str, torch.Tensor]:
        """Losses by name, each ``scale · L_d``; entries without 'loss' in their name are not scaled."""
        if self.relaxation == 'outputs' or len(choice.weights) == 1:
            losses = self._compare(records, choice.weights)
        else:
            losses = self._mix_losses(records, choice.weights)
        return {key: choice.scale * value if 'loss' in key else value for key, value in losses.items()}

    def _compare(self, records: Records, weights: dict) -> dict[str, torch.Tensor]:
        distiller = self.of(next(iter(weights)))
        distiller.teacher_recorders.point(records, weights)
        return distiller.compute_distill_losses()

    def _mix_losses(self, records: Records, weights: dict) -> dict[str, torch.Tensor]:
        total: dict[str, torch.Tensor] = {}
        for teacher, weight in weights.items():
            for key, value in self._compare(records, {teacher: 1.0}).items():
                total[key] = total.get(key, 0) + weight * value
        return total


def _is_one(distiller: Mapping) -> bool:
    return 'type' in distiller or 'distill_losses' in distiller


def _build(cfg: Mapping) -> nn.Module:
    check_config(cfg)
    cfg = copy.deepcopy(dict(cfg))
    cfg.setdefault('type', 'ConfigurableDistiller')
    with DefaultScope.overwrite_default_scope('mmrazor'):
        return MODELS.build(cfg)
