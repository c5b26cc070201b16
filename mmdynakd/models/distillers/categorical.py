"""MMRazor distillers, pointed at the teacher drawn or at the relaxed one."""

import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from mmengine.registry import DefaultScope
from mmpretrain.models import BaseClassifier
from mmrazor.models.distillers import BaseDistiller
from torch import nn

from mmdynakd.functional import weighted_loss
from mmdynakd.functional.mixing import Weight
from mmdynakd.models.fast import plain_record
from mmdynakd.models.selections import Choice
from mmdynakd.models.teachers import Records, TeacherEnsemble, TeacherView
from mmdynakd.registry import MODELS

from .checks import check_config, check_losses, check_theta_gradient

MIXES = ('outputs', 'losses')
SHARED = 'shared'


@MODELS.register_module()
class CategoricalDistiller(BaseDistiller):
    """Compares the student with the teachers of a choice, by unmodified MMRazor distillers.

    Args:
        distiller: Config of a MMRazor distiller (``type`` is ``ConfigurableDistiller`` by default,
            and MMRazor's names need no prefix), for all teachers or one per teacher by name.
        teachers: Names of the teachers, in order. Without any, nothing is built or compared.
        mix: What the weights of several teachers multiply. ``'outputs'``: their records, which are
            then compared once (eq. 3). ``'losses'``: ``Σ_i θ_i L_d(f_Ti, f_S)``, for features whose
            shapes differ.
        learnable: Whether θ is searched. What would cut its gradient is then an error.

    Raises:
        ValueError: For another ``mix``, an unknown or missing teacher, deliveries, a distiller per
            teacher with mixed outputs, no loss by name, or a loss that detaches the teacher while θ
            is searched.

    Examples:
        >>> from mmdynakd.models.toy import toy_distiller
        >>> distiller = CategoricalDistiller(toy_distiller(), ['strong', 'weak'])
        >>> distiller.of('strong') is distiller.of('weak')
        True
        >>> each = dict(strong=toy_distiller(), weak=toy_distiller())
        >>> distiller = CategoricalDistiller(each, ['strong', 'weak'], mix='losses')
        >>> distiller.of('strong') is distiller.of('weak')
        False
    """

    def __init__(
        self,
        distiller: Mapping[str, Any],
        teachers: Sequence[str],
        mix: str = 'outputs',
        learnable: bool = False,
        init_cfg: dict[str, Any] | None = None,
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
        self.distillers = cast(
            Mapping[str, BaseDistiller],
            nn.ModuleDict({name: _build(cfg) for name, cfg in configs.items()}),
        )
        _share_recorders(
            [
                (d, configs[name].get('student_recorders') or {})
                for name, d in self.distillers.items()
            ]
        )
        # Not by the key 'shared': a teacher may have this name.
        self._shared = bool(configs) and _is_one(distiller)

    def _by_teacher(self, distiller: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        if not self.teachers:
            return {}
        if not isinstance(distiller, Mapping) or not distiller:
            raise ValueError(
                f'distiller must be the config of a MMRazor distiller, got {distiller!r}'
            )
        if _is_one(distiller):
            return {SHARED: dict(distiller)}
        unknown = sorted(set(distiller) - set(self.teachers))
        missing = [t for t in self.teachers if t not in distiller]
        if unknown or missing:
            raise ValueError(
                f'a distiller per teacher needs the names of the teachers {self.teachers}; '
                f'unknown: {unknown}, missing: {missing}'
            )
        if self.mix == 'outputs':
            raise ValueError(
                "a distiller per teacher cannot compare one mixed output: set mix='losses'"
            )
        return {name: dict(cfg) for name, cfg in distiller.items()}

    def init_weights(self) -> None:
        """Initialise the connectors that have an ``init_cfg``.

        MMEngine would not find them inside a ModuleDict.
        """
        super().init_weights()
        for distiller in self.distillers.values():
            for connector in distiller.connectors.modules():
                if getattr(connector, 'init_cfg', None) and not connector.is_init:
                    connector.init_weights()

    def of(self, teacher: str) -> BaseDistiller:
        """Return the MMRazor distiller that compares the student with ``teacher``."""
        return self.distillers[SHARED if self._shared else teacher]

    def prepare_from_student(self, model: BaseClassifier) -> None:
        """Attach the student's recorders.

        Raises:
            ValueError: If the student has no such source.
        """
        for distiller in self.distillers.values():
            try:
                distiller.prepare_from_student(model)
            except AssertionError as error:
                raise ValueError(
                    f'student_recorders of the distiller: no such source in the student '
                    f'{type(model).__name__} ({error})'
                ) from error

    def prepare_from_teacher(self, ensemble: TeacherEnsemble) -> None:
        """Ask the ensemble for the recorders that each teacher's distiller reads."""
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
        """Record the student's forward pass for the comparison with ``teachers``.

        Records in half precision are float32 afterwards, so that losses are computed in float32.

        Args:
            teachers: Their names, by default all.
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
        """Drop what was recorded of the student."""
        for distiller in self.distillers.values():
            for recorder in distiller.student_recorders.recorders.values():
                recorder.reset_data_buffer()

    def compute_distill_losses(self, records: Records, choice: Choice) -> dict[str, torch.Tensor]:
        """Compare what was recorded of the student with the teachers of a choice.

        An unreduced loss is summed within a sample and averaged over the samples.

        Args:
            records: What the ensemble recorded.
            choice: Who teaches. Without teachers there is no loss.

        Returns:
            Losses by name, each the scalar ``scale · L_d``. Entries without 'loss' in their name
            are not scaled.

        Raises:
            ValueError: If a loss has weights of its own while the outputs are mixed.
        """
        if not choice.weights:
            return {}
        if choice.per_loss and self.mix == 'outputs':
            raise ValueError(
                "losses with weights of their own cannot share one mixed output: set mix='losses'"
            )
        # With one teacher per sample, the mix is the records of the teachers drawn.
        sampled = choice.rows and self._shared
        several = len(choice.weights) > 1 or choice.per_loss
        if self.mix == 'losses' and several and not sampled:
            return self._mix_losses(records, choice)
        losses = self._compare(records, choice.weights)
        return {
            key: weighted_loss(value, choice.scale if 'loss' in key else 1.0)
            for key, value in losses.items()
        }

    def adapted_feature(self, teacher: str) -> torch.Tensor:
        """Return the student's feature after the connector for ``teacher``.

        If several losses read such a feature, it is that of the first one.

        Raises:
            ValueError: If no loss compares a student's record through a connector.
        """
        distiller = self.of(teacher)
        for mapping in distiller.loss_forward_mappings.values():
            for record in mapping.values():
                if record['from_student'] and record.get('connector'):
                    feature: torch.Tensor = distiller.get_record(**record)
                    return feature
        raise ValueError(
            f"the distiller of teacher '{teacher}' compares no feature through a connector: give "
            'one of its loss_forward_mappings a connector'
        )

    def _compare(self, records: Records, weights: Mapping[str, Weight]) -> dict[str, torch.Tensor]:
        distiller = self.of(next(iter(weights)))
        distiller.teacher_recorders.point(records, weights)
        losses: dict[str, torch.Tensor] = distiller.compute_distill_losses()
        return losses

    def _mix_losses(self, records: Records, choice: Choice) -> dict[str, torch.Tensor]:
        total: dict[str, torch.Tensor] = {}
        for teacher, weight in choice.weights.items():
            for key, value in self._compare(records, {teacher: 1.0}).items():
                own = choice.per_loss[key][teacher] if key in choice.per_loss else weight
                own = own * choice.scale if 'loss' in key else own
                total[key] = total.get(key, 0) + weighted_loss(value, own)
        return total


def _set_margins(distiller: BaseDistiller, networks: Sequence[BaseClassifier]) -> None:
    """MMRazor's OFDDistiller reads its margins from the BatchNorm of one teacher."""
    if len(networks) > 1:
        raise ValueError(
            "OFDDistiller's margins are those of one teacher's BatchNorm: give every teacher a "
            "distiller of its own, distiller=dict(teacher=dict(type='OFDDistiller', …), …), "
            "mix='losses'"
        )
    distiller.init_ofd_connectors(networks[0])


def _share_recorders(distillers: Sequence[tuple[BaseDistiller, Mapping[str, Any]]]) -> None:
    """Make equal student recorders one, because MMRazor's method recorders overwrite each other."""
    known: dict[str, object] = {}
    for distiller, configs in distillers:
        own = distiller.student_recorders.recorders
        for name, cfg in configs.items():
            own[name] = known.setdefault(repr(sorted(cfg.items())), own[name])


def _is_one(distiller: Mapping[str, Any]) -> bool:
    return 'type' in distiller or 'distill_losses' in distiller


def _build(cfg: Mapping[str, Any]) -> BaseDistiller:
    check_config(cfg)
    own = copy.deepcopy(dict(cfg))
    own.setdefault('type', 'ConfigurableDistiller')
    with DefaultScope.overwrite_default_scope('mmrazor'):
        return MODELS.build(own)
