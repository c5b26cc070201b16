"""The multi-teacher algorithm: lanes of students over one ensemble of teachers."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.structures import BaseDataElement
from mmpretrain.models import BaseClassifier
from mmrazor.models.algorithms import BaseAlgorithm

from mmdynakd.functional import Draws
from mmdynakd.models.fast import Fast
from mmdynakd.models.teachers import Records, RecordStore, TeacherEnsemble
from mmdynakd.models.teachers.building import own_inputs
from mmdynakd.old_keys import takes_old_keys
from mmdynakd.registry import MODELS

from .batch import Batch, Losses, Notes, labels_of, share_of, union, views_of, weighed
from .build import build_lanes, checked_selection, in_order, raw_preprocessor, with_preprocessor
from .lane import Lane
from .randomness import same_start, seed_step
from .upper import ThetaStepper, unrolled_upper_loss, upper_loss

LEARNED: Mapping[str, Any] = MappingProxyType({})  # the default selection: a θ that is learned


@MODELS.register_module()
class DynaKD(BaseAlgorithm):
    """Students that learn from one sampled teacher per step (DynaKD, AAAI 2024).

    All lanes see the same batch, augmentation and uniform number. Each distinct teacher runs once
    per step for all of them.

    Args:
        architecture: Config of the student, a MMPretrain classifier.
        teachers: See :class:`TeacherEnsemble`.
        distiller: Config of a MMRazor distiller, or one per teacher by name, see
            :class:`CategoricalDistiller`.
        selection: Who teaches: config of a selection, by default a
            :class:`CategoricalDistribution` whose θ is learned. None: labels only.
        lanes: ``{name: overrides}``, overrides among ``selection``, ``distiller``, ``mix``,
            ``student_loss_weight``, ``upper_objective``, ``virtual_lr`` and ``teachers`` (names of
            those that may teach in this lane, by default all). By default one lane, ``search``.
        mix: ``'outputs'`` or ``'losses'``, see :class:`CategoricalDistiller`.
        student_loss_weight: Factor on the students' own label loss.
        upper_objective: What the upper step minimises. ``'first_order'``: the distillation loss at
            frozen weights (eq. 3). ``'unrolled'``: the label loss after one virtual step, see
            :func:`mmdynakd.functional.unrolled`.
        virtual_lr: ξ of that step; None takes the students' current learning rate.
        draw_seed: Seed of the draws; None takes the run's seed.
        teacher_order: The teachers' names in order, where the mapping may lose it. MMEngine sorts
            the keys of a config that it dumps, so ``mmdynakd train`` writes the order here.
        store: Folder, or ``dict(path=…, dtype='float16')``, in which the teachers' records of a
            view are kept for later epochs, lanes and runs, see :class:`RecordStore`. The training
            data must say its views (docs/data.md).
        fast: The switch for speed: None, ``'fp32'`` (equal up to rounding), ``'bf16'``, or see
            :class:`Fast`.
        sync_bn: Compute BatchNorm of students and connectors over the global batch, see
            :class:`SyncBatchNorm`. Otherwise each process has statistics of its own.
        data_preprocessor: The student's preprocessor, unless ``architecture`` has its own. Its
            ``batch_augments`` apply to the raw batch that students and teachers share.

    Raises:
        ValueError: For no teachers, another number of classes, or an unknown lane key, see also
            the components.

    Examples:
        >>> from mmdynakd.models.toy import toy_batch, toy_classifier, toy_distiller
        >>> teachers = {name: dict(model=MODELS.build(toy_classifier())) for name in ('a', 'b')}
        >>> model = DynaKD(
        ...     toy_classifier(), teachers, toy_distiller(), student_loss_weight=0.1,
        ...     lanes=dict(search={}, ce=dict(selection=None)))
        >>> data = model.data_preprocessor(toy_batch(), training=True)
        >>> list(model(**data, mode='loss'))
        ['search/student.loss', 'search/loss_kl', 'ce/student.loss']
        >>> model.searched['search'].distribution.by_teacher()
        {'a': 0.5, 'b': 0.5}
    """

    lanes: Mapping[str, Lane]
    ensemble: TeacherEnsemble

    @takes_old_keys
    def __init__(
        self,
        architecture: Mapping[str, Any] | BaseClassifier,
        teachers: Mapping[str, Mapping[str, Any]],
        distiller: Mapping[str, Any],
        selection: Mapping[str, Any] | None = LEARNED,
        lanes: Mapping[str, Mapping[str, Any]] | None = None,
        mix: str = 'outputs',
        student_loss_weight: float = 0.0,
        upper_objective: str = 'first_order',
        virtual_lr: float | None = None,
        draw_seed: int | None = None,
        teacher_order: Sequence[str] | None = None,
        fast: str | Mapping[str, Any] | None = None,
        store: str | Mapping[str, Any] | None = None,
        sync_bn: bool = False,
        data_preprocessor: Mapping[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        defaults = dict(
            selection=checked_selection(selection, 'model'),
            distiller=distiller,
            mix=mix,
            student_loss_weight=student_loss_weight,
            upper_objective=upper_objective,
            virtual_lr=virtual_lr,
            teachers=None,
        )
        speed = Fast.parse(fast)
        architecture, own = with_preprocessor(architecture, data_preprocessor)
        # Where the student starts does not depend on the teachers.
        with torch.random.fork_rng(devices=[]):
            ensemble = TeacherEnsemble(
                in_order(teachers, teacher_order), own, speed, RecordStore.parse(store)
            )
        super().__init__(
            architecture, raw_preprocessor(data_preprocessor, own, architecture), init_cfg
        )
        student = self.architecture
        del self.architecture  # it lives in the lanes
        ensemble.check_classes(student)
        object.__setattr__(self, 'ensemble', ensemble)
        self.lanes = build_lanes(student, ensemble.names, lanes or dict(search={}), defaults)
        self._lane_defaults = defaults
        for lane in self.lanes.values():
            if sync_bn:
                lane.synchronize()
            speed.layout(lane.student)
            lane.prepare(ensemble)
        self.draw_seed = draw_seed
        self.step = 0
        self.notes = Notes({}, {}, {})
        self._upper_logs: Losses = {}
        self._share: torch.Tensor | None = None  # of the batch whose losses are parsed next
        self._ddp_params_and_buffers_to_ignore = [
            f'lanes.{name}.selection.{parameter}'
            for name, lane in self.searched.items()
            for parameter, _ in lane.selection.named_parameters()
        ]

    def __getattr__(self, name: str) -> Any:
        # MMRazor calls an algorithm's student `architecture`. Here it is that of the first lane.
        modules = self.__dict__.get('_modules', {})
        if name == 'architecture' and 'lanes' in modules:
            return next(iter(modules['lanes'].values())).student
        return super().__getattr__(name)

    @property
    def searched(self) -> dict[str, Lane]:
        """The lanes whose θ is learned."""
        return {name: lane for name, lane in self.lanes.items() if lane.learns_theta}

    @property
    def needs_train_batch(self) -> bool:
        """Whether an upper step needs a batch of the training split, too."""
        return any(lane.upper_objective == 'unrolled' for lane in self.searched.values())

    def check_lanes(self, lanes: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise what building ``lanes`` in place of this algorithm's own would raise."""
        if lanes:
            build_lanes(
                copy.deepcopy(self.architecture), self.ensemble.names, lanes, self._lane_defaults
            )

    def init_weights(self) -> None:
        """Initialise every lane from the same random state."""
        same_start(
            self.lanes.values(),
            _init_weights,
        )

    def loss(self, inputs: torch.Tensor, data_samples: Sequence[BaseDataElement]) -> Losses:
        """Lower step of every lane.

        Args:
            inputs: (B, C, H, W) raw pixels, 0..255.
            data_samples: B samples with labels.

        Returns:
            ``{lane/loss name: loss}``.

        Raises:
            ValueError: If there is a store, and the batch does not say its views.
        """
        self._check_views(data_samples)
        draws, labels = self._draws(), self._labels(data_samples, inputs.device)
        choices = {name: lane.choose(draws, labels) for name, lane in self.lanes.items()}
        names, rows = union(choices.values())
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
        self,
        val: Mapping[str, Any],
        train: Mapping[str, Any] | None = None,
        lr: Mapping[str, float] | None = None,
    ) -> Losses:
        """Upper step of every searched lane; each teacher runs once per batch.

        Args:
            val: Preprocessed batch of the validation split.
            train: That of the training split, for unrolled lanes.
            lr: Learning rate by lane, for unrolled lanes without a ``virtual_lr``.

        Returns:
            ``{lane: scalar}``, multiplied by the rank's share.

        Raises:
            ValueError: Without ``train`` where it is needed.
        """
        self._check_train_batch(train)
        batch, losses = self.upper_batch(val), {}
        unrolled = [n for n, lane in self.searched.items() if lane.upper_objective == 'unrolled']
        virtual = self._virtual_batch(train, unrolled)
        for name, lane in self.searched.items():
            with self.ensemble.fast.autocast(batch.inputs.device):
                losses[name] = (
                    unrolled_upper_loss(lane, batch, virtual, lane.virtual_lr or (lr or {})[name])
                    if virtual is not None and name in unrolled
                    else upper_loss(lane, batch)
                )
        self.notes = Notes.of(
            {name: lane.selection.teachers for name, lane in self.searched.items()},
            batch.records,
            {f'{name}/upper_loss': loss for name, loss in losses.items()},
        )
        return losses

    def upper_step(
        self,
        data: Mapping[str, Any],
        optim_wrapper: ThetaStepper,
        train_data: Mapping[str, Any] | None = None,
    ) -> Losses:
        """Take one step on θ from a batch of the validation split.

        Args:
            data: Batch of a loader of the validation split.
            optim_wrapper: The run's.
            train_data: Batch of the training split, if ``needs_train_batch``.

        Returns:
            The upper losses by lane, those of the global batch.

        Raises:
            ValueError: Without ``train_data`` where it is needed.
        """
        self._check_train_batch(train_data)
        with optim_wrapper.theta_context(self):
            val = self.data_preprocessor(data, training=False)
            train = (
                self.data_preprocessor(train_data, training=True)
                if self.needs_train_batch
                else None
            )
            lr = {name: optim_wrapper[name].get_lr()['lr'][0] for name in self.searched}
            losses = self.upper_losses(val, train, lr)
        alphas = {name: lane.distribution.alpha for name, lane in self.searched.items()}
        faulty = optim_wrapper.update_theta(losses, alphas)
        losses = {name: loss.detach().clone() for name, loss in losses.items()}
        for loss in losses.values():
            all_reduce(loss, op='mean')  # so that all ranks report one number
        self._upper_logs = {
            f'{name}/upper_loss': loss for name, loss in losses.items() if name not in faulty
        }
        return losses

    def read_split(self, data: Mapping[str, Any]) -> None:
        """Run the teachers of the searched lanes on a batch of the validation split.

        A store keeps what they record, see :meth:`TeacherEnsemble.keep`.

        Args:
            data: Batch of a loader of the validation split.
        """
        self._records(self.data_preprocessor(data, training=False), self.searched.values())

    def upper_batch(self, data: Mapping[str, Any], lanes: Iterable[Lane] | None = None) -> Batch:
        """Prepare a batch for an upper step: all teachers run on all samples.

        Args:
            data: A preprocessed batch.
            lanes: Those whose teachers run, by default all that are searched.
        """
        inputs, samples = data['inputs'], data['data_samples']
        return Batch(
            self._student_inputs(inputs),
            samples,
            self._labels(samples, inputs.device),
            self._records(data, self.searched.values() if lanes is None else lanes),
            self._draws(),
            share_of(len(inputs), inputs.device),
        )

    def _virtual_batch(
        self, train: Mapping[str, Any] | None, unrolled: Sequence[str]
    ) -> Batch | None:
        """The batch of the virtual step, if a lane takes one."""
        if train is None or not unrolled:
            return None
        self._check_views(train['data_samples'])
        return self.upper_batch(train, [self.lanes[name] for name in unrolled])

    def _records(self, data: Mapping[str, Any], lanes: Iterable[Lane]) -> Records:
        names = dict.fromkeys(teacher for lane in lanes for teacher in lane.selection.teachers)
        return self.ensemble.run(names, data['inputs'], views=views_of(data['data_samples']))

    def _check_train_batch(self, train: Mapping[str, Any] | None) -> None:
        if self.needs_train_batch and train is None:
            raise ValueError(
                "upper_objective='unrolled' takes a virtual step on a training batch: give "
                'train_data'
            )

    def _check_views(self, data_samples: Sequence[BaseDataElement]) -> None:
        """A training batch must say its views if there is a store."""
        if self.ensemble.store is not None and views_of(data_samples) is None:
            raise ValueError(
                'model.store keeps records by view, but the batch does not say its views: use '
                'mmdynakd.ArrayDataset or mmdynakd.Views as the data set, with '
                'mmdynakd.ViewSampler, and no batch_augments (docs/data.md); or set '
                'model.store=None'
            )

    def _labels(
        self, data_samples: Sequence[BaseDataElement], device: torch.device
    ) -> torch.Tensor | None:
        needed = any(lane.needs_labels for lane in self.lanes.values())
        return labels_of(data_samples, device) if needed else None

    def _draws(self) -> Draws:
        return Draws(self.draw_seed or 0, self.step, get_rank(), get_world_size())

    def parse_losses(self, losses: Losses) -> tuple[Losses, Losses]:
        """Sum up the losses of each lane.

        The upper step's loss is logged with the lower step that follows it.

        Args:
            losses: What :meth:`loss` returned.

        Returns:
            ``{lane: total loss}``, multiplied by the rank's share, for the optim wrapper, and the
            log variables ``lane/name``.
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

    def forward(
        self,
        inputs: torch.Tensor,
        data_samples: Sequence[BaseDataElement] | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """MMEngine's three modes; ``tensor`` and ``predict`` are the first lane's student.

        Args:
            inputs: (B, C, H, W) raw pixels, 0..255.
            data_samples: B samples.
            mode: ``'loss'``, ``'tensor'`` or ``'predict'``.
        """
        if mode == 'loss':
            return self.loss(inputs, [] if data_samples is None else data_samples)
        return self.architecture(self._student_inputs(inputs), data_samples, mode=mode)

    def predict_lanes(self, data: Mapping[str, Any]) -> dict[str, list[BaseDataElement]]:
        """Let every lane's student predict one batch of a data loader.

        Args:
            data: Batch of a loader.

        Returns:
            ``{lane: B samples with predictions}``.
        """
        data = self.data_preprocessor(data, training=False)
        inputs = self._student_inputs(data['inputs'])
        return {
            name: lane.student(inputs, copy.deepcopy(data.get('data_samples')), mode='predict')
            for name, lane in self.lanes.items()
        }

    def _student_inputs(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.ensemble.fast.layout(own_inputs(self.architecture, inputs))

    def get_extra_state(self) -> torch.Tensor:
        """Return the number of lower steps taken, for the state dict."""
        return torch.tensor(self.step)

    def set_extra_state(self, state: torch.Tensor) -> None:
        """Take the number of lower steps from a state dict."""
        self.step = int(state)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        self.ensemble.apply(fn)
        return super()._apply(fn, *args, **kwargs)

    def _set_device(self, device: torch.device) -> None:
        super()._set_device(device)
        self.ensemble.set_device(device)


def _init_weights(lane: Lane) -> None:
    for module in lane.children():
        init = getattr(module, 'init_weights', None)
        if init is not None:
            init()
