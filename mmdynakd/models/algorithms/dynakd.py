"""The multi-teacher algorithm: lanes of students over one ensemble of teachers."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import torch
from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.structures import BaseDataElement
from mmrazor.models.algorithms import BaseAlgorithm
from torch import nn

from mmdynakd.functional import Draws
from mmdynakd.models.fast import Fast
from mmdynakd.models.teachers import Records, RecordStore, TeacherEnsemble
from mmdynakd.models.teachers.building import own_inputs
from mmdynakd.old_keys import takes_old_keys
from mmdynakd.registry import MODELS

from .batch import Notes, labels_of, share_of, union, views_of, weighed
from .build import build_lanes, in_order, raw_preprocessor, with_preprocessor
from .lane import Batch, Lane
from .randomness import same_start, seed_step
from .upper import unrolled_upper_loss, upper_loss

Losses = dict[str, torch.Tensor]
LEARNED: Mapping = MappingProxyType({})  # the default selection: a θ that is learned


@MODELS.register_module()
class DynaKD(BaseAlgorithm):
    """Students that learn from one sampled teacher a step (DynaKD, AAAI 2024).

    All lanes see the same batch, augmentation and uniform number; each distinct teacher runs once a
    step for all.

    Args:
        architecture: config of the student, a MMPretrain classifier.
        teachers: see :class:`TeacherEnsemble`.
        distiller: see :class:`CategoricalDistiller`: config of a MMRazor distiller, or one per
            teacher by name.
        selection: who teaches: config of a selection, by default a
            :class:`CategoricalDistribution` whose θ is learned; None: labels only.
        lanes: ``{name: overrides}``, overrides among ``selection``, ``distiller``, ``mix``,
            ``student_loss_weight``, ``upper_objective``, ``virtual_lr`` and ``teachers`` (names of
            those it employs, by default all). By default one lane, ``search``.
        mix: ``'outputs'`` or ``'losses'``, see :class:`CategoricalDistiller`.
        student_loss_weight: factor on the students' own label loss.
        upper_objective: what the upper step minimises: ``'first_order'``, the distillation loss at
            frozen weights (eq. 3), or ``'unrolled'``, the label loss after one virtual step, see
            :func:`mmdynakd.functional.unrolled`.
        virtual_lr: ξ of that step; None takes the students' learning rate at hand.
        draw_seed: seed of the draws; None takes the run's seed.
        teacher_order: the teachers' names in their order, where that of the mapping may be lost:
            MMEngine sorts the keys of a config that it dumps, so ``mmdynakd train`` writes the
            order here.
        store: folder, or ``dict(path=…, dtype='float16')``, where what teachers record of a view is
            kept for later epochs, lanes and runs, see :class:`RecordStore`; the training data must
            say its views (docs/data.md).
        fast: the switch for speed: None, ``'fp32'`` (equal to rounding), ``'bf16'``, or see
            :class:`Fast`.
        sync_bn: BatchNorm of students and connectors over the global batch, see
            :class:`SyncBatchNorm`; without it each process has statistics of its own.
        data_preprocessor: the student's preprocessor, unless ``architecture`` has its own; its
            ``batch_augments`` apply to the raw batch that students and teachers share.

    Raises:
        ValueError: no teachers, another class count, an unknown lane key, see also the components.
    """

    @takes_old_keys
    def __init__(
        self,
        architecture: Mapping | nn.Module,
        teachers: Mapping[str, Mapping],
        distiller: Mapping,
        selection: Mapping | None = LEARNED,
        lanes: Mapping[str, Mapping] | None = None,
        mix: str = 'outputs',
        student_loss_weight: float = 0.0,
        upper_objective: str = 'first_order',
        virtual_lr: float | None = None,
        draw_seed: int | None = None,
        teacher_order: Sequence[str] | None = None,
        fast: str | Mapping | None = None,
        store: str | Mapping | None = None,
        sync_bn: bool = False,
        data_preprocessor: Mapping | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        fast = Fast.parse(fast)
        architecture, own = with_preprocessor(architecture, data_preprocessor)
        with torch.random.fork_rng(
            devices=[]
        ):  # where the student starts does not depend on the teachers
            ensemble = TeacherEnsemble(
                in_order(teachers, teacher_order), own, fast, RecordStore.parse(store)
            )
        super().__init__(
            architecture, raw_preprocessor(data_preprocessor, own, architecture), init_cfg
        )
        student = self.architecture
        del self.architecture  # it lives in the lanes
        ensemble.check_classes(student)
        object.__setattr__(self, 'ensemble', ensemble)
        defaults = dict(
            selection=None if selection is None else dict(selection),
            distiller=distiller,
            mix=mix,
            student_loss_weight=student_loss_weight,
            upper_objective=upper_objective,
            virtual_lr=virtual_lr,
            teachers=None,
        )
        self.lanes = build_lanes(student, ensemble.names, lanes or dict(search={}), defaults)
        self._lane_defaults = defaults
        for lane in self.lanes.values():
            if sync_bn:
                lane.synchronize()
            fast.layout(lane.student)
            lane.prepare(ensemble)
        self.draw_seed = draw_seed
        self.step = 0
        self.notes = Notes({}, {}, {})
        self._upper_logs: dict[str, torch.Tensor] = {}
        self._share: torch.Tensor | None = None  # of the batch whose losses are parsed next
        self._ddp_params_and_buffers_to_ignore = [
            n for n, _ in self.named_parameters() if n.endswith('.alpha')
        ]

    def __getattr__(self, name: str):
        # MMRazor calls an algorithm's student `architecture`: here that of the first lane, once
        # lanes are built.
        modules = self.__dict__.get('_modules', {})
        if name == 'architecture' and 'lanes' in modules:
            return next(iter(modules['lanes'].values())).student
        return super().__getattr__(name)

    @property
    def searched(self) -> dict[str, nn.Module]:
        """The lanes whose θ is learned."""
        return {name: lane for name, lane in self.lanes.items() if lane.learns_theta}

    def check_lanes(self, lanes: Mapping[str, Mapping]) -> None:
        """Raises what building ``lanes`` instead of this algorithm's own would raise."""
        if lanes:
            build_lanes(
                copy.deepcopy(self.architecture), self.ensemble.names, lanes, self._lane_defaults
            )

    def init_weights(self) -> None:
        same_start(
            self.lanes.values(),
            lambda lane: [m.init_weights() for m in lane.children() if hasattr(m, 'init_weights')],
        )

    def loss(self, inputs: torch.Tensor, data_samples: list[BaseDataElement]) -> Losses:
        """Lower step of every lane: ``{lane/loss name: loss}``.

        Args:
            inputs: (B, C, H, W) raw pixels, 0..255.
            data_samples: B samples with labels.
        """
        draws, labels = self._draws(), self._labels(data_samples, inputs.device)
        choices = {name: lane.choose(draws, labels) for name, lane in self.lanes.items()}
        names, rows = union(choices.values())
        self._check_views(data_samples)
        records = self.ensemble.run(names, inputs, rows, views_of(data_samples))
        batch = Batch(
            self._student_inputs(inputs),
            data_samples,
            labels,
            records,
            draws,
            share_of(len(inputs), inputs.device),
        )
        self._share = batch.share
        losses: Losses = {}
        for name, lane in self.lanes.items():
            seed_step(draws.seed, draws.step)
            with self.ensemble.fast.autocast(inputs.device):
                own = lane.loss(batch, choices[name])
            losses.update({f'{name}/{key}': value for key, value in own.items()})
        self.notes = Notes.of(
            {name: list(choice.weights) for name, choice in choices.items()}, records, losses
        )
        self.step += 1
        return losses

    def upper_losses(
        self, val: dict, train: dict | None = None, lr: Mapping[str, float] | None = None
    ) -> dict[str, torch.Tensor]:
        """Upper step of every searched lane: ``{lane: scalar}``, by the rank's share; each teacher
        runs once a batch.

        Args:
            val: preprocessed batch of the validation split.
            train: that of the training split, for unrolled lanes.
            lr: learning rate by lane, for unrolled lanes without a ``virtual_lr``.
        """
        val, losses = self._batch(val, self.searched.values()), {}
        unrolled = {
            name: lane for name, lane in self.searched.items() if lane.upper_objective == 'unrolled'
        }
        if unrolled:
            self._check_views(train['data_samples'])
            train = self._batch(train, unrolled.values())
        for name, lane in self.searched.items():
            with self.ensemble.fast.autocast(val.inputs.device):
                losses[name] = (
                    unrolled_upper_loss(lane, val, train, lane.virtual_lr or lr[name])
                    if name in unrolled
                    else upper_loss(lane, val)
                )
        teachers = {name: lane.selection.teachers for name, lane in self.searched.items()}
        self.notes = Notes.of(
            teachers, val.records, {f'{name}/upper_loss': loss for name, loss in losses.items()}
        )
        return losses

    def upper_step(
        self, data: dict, optim_wrapper, train_data: dict | None = None
    ) -> dict[str, torch.Tensor]:
        """One step on θ from a batch of the validation split; returns the upper losses by lane.

        Args:
            data: batch of a loader of the validation split.
            optim_wrapper: the run's.
            train_data: batch of the training split, needed where a lane is unrolled.

        Raises:
            ValueError: without ``train_data`` where it is needed.
        """
        if self.needs_train_batch and train_data is None:
            raise ValueError(
                "upper_objective='unrolled' takes a virtual step on a training batch: give "
                'train_data'
            )
        with optim_wrapper.theta_context(self):
            val = self.data_preprocessor(data, training=False)
            train = (
                self.data_preprocessor(train_data, training=True)
                if self.needs_train_batch
                else None
            )
            lr = {name: optim_wrapper[name].get_lr()['lr'][0] for name in self.searched}
            losses = self.upper_losses(val, train, lr)
        alphas = {name: lane.selection.alpha for name, lane in self.searched.items()}
        faulty = optim_wrapper.update_theta(losses, alphas)
        losses = {name: loss.detach().clone() for name, loss in losses.items()}
        for loss in losses.values():
            all_reduce(
                loss, op='mean'
            )  # that of the global batch, so that all ranks report one number
        self._upper_logs = {
            f'{name}/upper_loss': loss for name, loss in losses.items() if name not in faulty
        }
        return losses

    def read_split(self, data: dict) -> None:
        """Runs the teachers of the searched lanes on a batch of the validation split.

        It is for a store that keeps what they record, see :meth:`TeacherEnsemble.keep`.
        """
        self._records(self.data_preprocessor(data, training=False), self.searched.values())

    @property
    def needs_train_batch(self) -> bool:
        return any(lane.upper_objective == 'unrolled' for lane in self.searched.values())

    def _labels(
        self, data_samples: list[BaseDataElement], device: torch.device
    ) -> torch.Tensor | None:
        needed = any(lane.needs_labels for lane in self.lanes.values())
        return labels_of(data_samples, device) if needed else None

    def _draws(self) -> Draws:
        return Draws(self.draw_seed or 0, self.step, get_rank(), get_world_size())

    def _check_views(self, data_samples: Sequence[BaseDataElement]) -> None:
        """A training batch must say its views where there is a store."""
        if self.ensemble.store is not None and views_of(data_samples) is None:
            raise ValueError(
                'model.store keeps records by view, but the batch does not say its views: use '
                'mmdynakd.ArrayDataset or mmdynakd.Views as the data set, with '
                'mmdynakd.ViewSampler, and no batch_augments (docs/data.md); or set '
                'model.store=None'
            )

    def _batch(self, data: dict, lanes: Iterable[Lane]) -> Batch:
        inputs, samples = data['inputs'], data['data_samples']
        return Batch(
            self._student_inputs(inputs),
            samples,
            self._labels(samples, inputs.device),
            self._records(data, lanes),
            self._draws(),
            share_of(len(inputs), inputs.device),
        )

    def _records(self, data: dict, lanes: Iterable[Lane]) -> Records:
        """Of a batch of a searched step: all teachers of ``lanes`` run on all samples."""
        names = dict.fromkeys(teacher for lane in lanes for teacher in lane.selection.teachers)
        return self.ensemble.run(names, data['inputs'], views=views_of(data['data_samples']))

    def parse_losses(self, losses: Losses) -> tuple[Losses, dict[str, torch.Tensor]]:
        """``{lane: total loss}``, by the rank's share, for the optim wrapper, and the log variables
        ``lane/name``.

        The upper step's loss is logged with the lower step that follows it.
        """
        totals, log_vars = {}, self._upper_logs
        self._upper_logs = {}
        for name in self.lanes:
            own = {
                key.split('/', 1)[1]: value
                for key, value in losses.items()
                if key.startswith(f'{name}/')
            }
            total, parsed = super().parse_losses(own)
            totals[name] = weighed(total, self._share)
            log_vars.update({f'{name}/{key}': value for key, value in parsed.items()})
        return totals, log_vars

    def forward(self, inputs: torch.Tensor, data_samples: list | None = None, mode: str = 'tensor'):
        """MMEngine's three modes; ``tensor`` and ``predict`` are the first lane's student."""
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        return self.architecture(self._student_inputs(inputs), data_samples, mode=mode)

    def predict_lanes(self, data: dict) -> dict[str, list[BaseDataElement]]:
        """Predictions of every lane's student on one batch of a data loader."""
        data = self.data_preprocessor(data, training=False)
        inputs = self._student_inputs(data['inputs'])
        return {
            name: lane.student(inputs, copy.deepcopy(data.get('data_samples')), mode='predict')
            for name, lane in self.lanes.items()
        }

    def _student_inputs(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.ensemble.fast.layout(own_inputs(self.architecture, inputs))

    def get_extra_state(self) -> torch.Tensor:
        return torch.tensor(self.step)

    def set_extra_state(self, state: torch.Tensor) -> None:
        self.step = int(state)

    def _apply(self, fn, *args, **kwargs):
        self.ensemble.apply(fn)
        return super()._apply(fn, *args, **kwargs)

    def _set_device(self, device: torch.device) -> None:
        super()._set_device(device)
        self.ensemble.set_device(device)
