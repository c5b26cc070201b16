"""MMRazor distillers, pointed at the teacher drawn or at the relaxed one."""

import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from mmengine.registry import DefaultScope
from mmrazor.models.distillers import BaseDistiller
from torch import nn

from mmdynakd.functional import weighted_loss
from mmdynakd.models.fast import plain_record
from mmdynakd.models.selections import Choice
from mmdynakd.models.teachers import Records, TeacherEnsemble, TeacherView
from mmdynakd.registry import MODELS

from .checks import check_config, check_losses, check_theta_gradient

MIXES = ('outputs', 'losses')
SHARED = 'shared'


@MODELS.register_module()
class CategoricalDistiller(BaseDistiller):
    """Compares the student with the teachers that a selection chose, through unmodified MMRazor
    distillers.

    Args:
        distiller: config of a MMRazor distiller, ``type`` by default ``ConfigurableDistiller``,
            MMRazor's names without a prefix; one for all teachers, or one per teacher by name.
        teachers: names of the teachers, in order.
        mix: what several weighted teachers mix: ``'outputs'``, their records, then one loss
            (eq. 3), or ``'losses'``, ``Σ_i θ_i L_d(f_Ti, f_S)``, for features whose shapes differ.
        learnable: whether θ is searched, so that traps in the upper step are errors now.

    Raises:
        ValueError: unknown ``mix`` or teacher name, missing teacher, deliveries, a
            per-teacher distiller with mixed outputs, no loss by name, or a loss that detaches the
            teacher while θ is searched.
    """

    def __init__(
        self,
        distiller: Mapping,
        teachers: Sequence[str],
        mix: str = 'outputs',
        learnable: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if mix not in MIXES:
            raise ValueError(f'mix must be one of {MIXES}, got {mix!r}')
        self.mix = mix
        self.teachers = list(teachers)
        configs = self._by_teacher(distiller)
        check_losses(configs)
        if learnable and mix == 'outputs':
            check_theta_gradient(configs)
        self._recorder_configs = {
            name: dict(cfg.get('teacher_recorders') or {}) for name, cfg in configs.items()
        }
        self.distillers = nn.ModuleDict({name: _build(cfg) for name, cfg in configs.items()})
        _share_recorders(
            [
                (d, configs[name].get('student_recorders') or {})
                for name, d in self.distillers.items()
            ]
        )
        self._shared = bool(configs) and _is_one(
            distiller
        )  # not by the key: a teacher may be called so

    def _by_teacher(self, distiller: Mapping) -> dict[str, dict]:
        if not self.teachers:  # of a lane that learns from labels only
            return {}
        if not isinstance(distiller, Mapping) or not distiller:
            raise ValueError(f'distiller must be a MMRazor distiller config, got {distiller!r}')
        if _is_one(distiller):
            return {SHARED: dict(distiller)}
        unknown = sorted(set(distiller) - set(self.teachers))
        missing = [t for t in self.teachers if t not in distiller]
        if unknown or missing:
            raise ValueError(
                f'a per-teacher distiller names the teachers {self.teachers}; '
                f'unknown: {unknown}, missing: {missing}'
            )
        if self.mix == 'outputs':
            raise ValueError(
                "a distiller per teacher cannot compare one mixed output: set mix='losses'"
            )
        return {name: dict(cfg) for name, cfg in distiller.items()}

    def init_weights(self) -> None:
        """Initialises the connectors that have an ``init_cfg``; a ModuleDict would hide them from
        MMEngine.
        """
        super().init_weights()
        for distiller in self.distillers.values():
            for connector in distiller.connectors.modules():
                if getattr(connector, 'init_cfg', None) and not connector.is_init:
                    connector.init_weights()

    def of(self, teacher: str) -> nn.Module:
        """The MMRazor distiller that compares the student with ``teacher``."""
        return self.distillers[SHARED if self._shared else teacher]

    def prepare_from_student(self, model: nn.Module) -> None:
        for distiller in self.distillers.values():
            try:
                distiller.prepare_from_student(model)
            except AssertionError as error:
                raise ValueError(
                    f'student_recorders of the distiller: no such source in the student '
                    f'{type(model).__name__} ({error})'
                ) from error

    def prepare_from_teacher(self, ensemble: TeacherEnsemble) -> None:
        """Asks the ensemble for the recorders that each teacher's distiller reads."""
        for name, distiller in self.distillers.items():
            teachers = self.teachers if self._shared else [name]
            if hasattr(distiller, 'init_ofd_connectors'):
                _set_margins(distiller, [ensemble.networks[teacher] for teacher in teachers])
            distiller.teacher_recorders = TeacherView(
                {
                    recorder: {teacher: ensemble.record(teacher, cfg) for teacher in teachers}
                    for recorder, cfg in self._recorder_configs[name].items()
                }
            )

    @contextlib.contextmanager
    def recording(self, teachers: Iterable[str] | None = None) -> Iterator[None]:
        """Within it, the student's forward is recorded for the comparison with ``teachers``, by
        default all.

        Half-precision records are float32 afterwards, so that losses are taken in it.
        """
        distillers = map(self.of, self.teachers if teachers is None else teachers)
        recorders = {id(r): r for d in distillers for r in d.student_recorders.recorders.values()}
        with contextlib.ExitStack() as stack:
            for recorder in recorders.values():
                stack.enter_context(recorder)
            yield
        for recorder in recorders.values():
            recorder.data_buffer[:] = map(plain_record, recorder.data_buffer)

    def forget(self) -> None:
        """Drops what was recorded of the student."""
        for distiller in self.distillers.values():
            for recorder in distiller.student_recorders.recorders.values():
                recorder.reset_data_buffer()

    def compute_distill_losses(self, records: Records, choice: Choice) -> dict[str, torch.Tensor]:
        """Losses by name, each the scalar ``scale · L_d``; entries without 'loss' in their name are
        not scaled.

        An unreduced loss is summed within a sample and averaged over the samples.
        """
        if not choice.weights:
            return {}
        if choice.per_loss and self.mix == 'outputs':
            raise ValueError(
                "losses with weights of their own cannot share one mixed output: set mix='losses'"
            )
        sampled = (
            choice.rows and self._shared
        )  # one teacher a sample: the mix is the records of those drawn
        if not sampled and self.mix == 'losses' and (len(choice.weights) > 1 or choice.per_loss):
            return self._mix_losses(records, choice)
        losses = self._compare(records, choice.weights)
        return {
            key: weighted_loss(value, choice.scale if 'loss' in key else 1.0)
            for key, value in losses.items()
        }

    def adapted_feature(self, teacher: str) -> torch.Tensor:
        """The student's feature behind the connector for ``teacher``, the first that a loss reads.

        Raises:
            ValueError: if no loss compares a student's record through a connector.
        """
        distiller = self.of(teacher)
        for mapping in distiller.loss_forward_mappings.values():
            for record in mapping.values():
                if record['from_student'] and record.get('connector'):
                    return distiller.get_record(**record)
        raise ValueError(
            f"the distiller of teacher '{teacher}' compares no feature through a connector: give "
            'one of '
            'its loss_forward_mappings a connector'
        )

    def _compare(self, records: Records, weights: dict) -> dict[str, torch.Tensor]:
        distiller = self.of(next(iter(weights)))
        distiller.teacher_recorders.point(records, weights)
        return distiller.compute_distill_losses()

    def _mix_losses(self, records: Records, choice: Choice) -> dict[str, torch.Tensor]:
        total: dict[str, torch.Tensor] = {}
        for teacher, weight in choice.weights.items():
            for key, value in self._compare(records, {teacher: 1.0}).items():
                own = choice.per_loss[key][teacher] if key in choice.per_loss else weight
                own = own * choice.scale if 'loss' in key else own
                total[key] = total.get(key, 0) + weighted_loss(value, own)
        return total


def _set_margins(distiller: nn.Module, networks: list[nn.Module]) -> None:
    """MMRazor's OFDDistiller reads its margins off the BatchNorm of one teacher."""
    if len(networks) > 1:
        raise ValueError(
            "OFDDistiller's margins are those of one teacher's BatchNorm: give every teacher a "
            'distiller '
            "of its own, distiller=dict(teacher=dict(type='OFDDistiller', …), …), "
            "mix='losses'"
        )
    distiller.init_ofd_connectors(networks[0])


def _share_recorders(distillers: list[tuple[nn.Module, Mapping]]) -> None:
    """Equal student recorders become one: MMRazor's method recorders would overwrite one another."""
    known: dict[str, object] = {}
    for distiller, configs in distillers:
        own = distiller.student_recorders.recorders
        for name, cfg in configs.items():
            own[name] = known.setdefault(repr(sorted(cfg.items())), own[name])


def _is_one(distiller: Mapping) -> bool:
    return 'type' in distiller or 'distill_losses' in distiller


def _build(cfg: Mapping) -> nn.Module:
    check_config(cfg)
    cfg = copy.deepcopy(dict(cfg))
    cfg.setdefault('type', 'ConfigurableDistiller')
    with DefaultScope.overwrite_default_scope('mmrazor'):
        return MODELS.build(cfg)
