"""The frozen teachers behind MMRazor's recorders."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from mmengine.registry import DefaultScope
from mmpretrain.models import BaseClassifier
from mmrazor.models.task_modules import RecorderManager

from mmdynakd.compat.mmengine_internals import set_device
from mmdynakd.compat.torch_internals import apply_to_tensors
from mmdynakd.models.fast import Fast, plain_record
from mmdynakd.models.samples import BatchViews

from .building import build_teacher, num_classes, own_inputs
from .folding import accelerate
from .records import OUTPUTS, Records, spread
from .store import RecordStore, teacher_facts


class TeacherEnsemble:
    """Ordered, named, frozen teachers; each runs at most once per step, on raw inputs.

    It is not an ``nn.Module``, so the teachers are outside the state dict, the optimizers and DDP.
    Its owner forwards ``.to()`` and the like by :meth:`apply`. Teachers are always in eval mode
    (Dropout too), apply their own preprocessor, and never see a gradient.

    Args:
        teachers: ``{name: dict(model=…, checkpoint=…, config=…)}``, strong to weak. ``model`` is a
            MMPretrain classifier (config or module). ``checkpoint`` is a path, a https URL or
            ``dict(path=…, part=…)``; with None, ``model`` has its weights already, by
            ``pretrained=`` or as a module. If the checkpoint is missing, the error names
            ``config``, the file that trains it, and ``source``, where it comes from. ``accuracy``
            is a note.
        default_preprocessor: Config of the preprocessor for teachers that have none.
        fast: How they are computed, see :class:`Fast`. They are changed at their first run.
        store: Keeps what they record, of every batch that says which views it holds.

    Attributes:
        networks: The teachers by name.
        checkpoints: Where each teacher's weights came from, as its entry says.
        kept: Stores by the source of the views that they keep, see :meth:`keep`. They are used
            where there is no ``store``.

    Raises:
        ValueError: For no teachers, or an entry of another shape.
        CheckpointError: See :func:`load_checkpoint_into`.

    Examples:
        >>> from mmdynakd.models.toy import toy_classifier
        >>> from mmdynakd.registry import MODELS
        >>> ensemble = TeacherEnsemble({'t': dict(model=MODELS.build(toy_classifier()))})
        >>> key = ensemble.record('t', dict(type='ModuleOutputs', source='neck'))
        >>> records = ensemble.run(['t'], torch.zeros(4, 3, 8, 8))
        >>> records['t']['outputs'][0].shape, records['t'][key][0][0].shape
        (torch.Size([4, 3]), torch.Size([4, 64]))
    """

    def __init__(
        self,
        teachers: Mapping[str, Mapping[str, Any]],
        default_preprocessor: Mapping[str, Any] | None = None,
        fast: Fast | None = None,
        store: RecordStore | None = None,
    ) -> None:
        if not teachers:
            raise ValueError(
                'DynaKD needs at least one teacher: teachers=dict(name=dict(model=…, checkpoint=…))'
            )
        self.networks: dict[str, BaseClassifier] = {}
        self.fast = fast or Fast()
        self.store = store
        self.kept: dict[str, RecordStore] = {}
        self.checkpoints: dict[str, str | Mapping[str, Any] | None] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self._recorders: dict[str, dict[str, RecorderManager]] = {}
        self._accelerated: set[str] = set()
        for name, entry in teachers.items():
            self.networks[name] = build_teacher(name, entry, default_preprocessor)
            self.checkpoints[name] = entry.get('checkpoint')
            self._recorders[name] = {}

    @property
    def names(self) -> list[str]:
        """The teachers' names, in their order."""
        return list(self.networks)

    def check_classes(self, student: BaseClassifier) -> None:
        """Raise ValueError if a teacher has another number of classes than the student."""
        expected = num_classes(student)
        for name, network in self.networks.items():
            count = num_classes(network)
            if None not in (expected, count) and count != expected:
                raise ValueError(
                    f"teacher '{name}' has {count} classes, the student has {expected}: "
                    f'set head.num_classes of teachers.{name}.model, or use another teacher'
                )

    def record(self, teacher: str, recorder: Mapping[str, Any]) -> str:
        """Attach a MMRazor recorder to a teacher; equal configs share one.

        Args:
            teacher: Its name.
            recorder: Config of the recorder.

        Returns:
            The recorder's key in the records of :meth:`run`.

        Raises:
            ValueError: If the teacher has no such source, or was folded or compiled already.
        """
        key = repr(sorted(recorder.items()))
        if key not in self._recorders[teacher]:
            if teacher in self._accelerated:
                raise ValueError(
                    f"teacher '{teacher}' was folded or compiled at its first run: ask for its "
                    'recorders before, or set fast=None'
                )
            with DefaultScope.overwrite_default_scope('mmrazor'):
                manager = RecorderManager({key: dict(recorder)})
            try:
                manager.initialize(self.networks[teacher])
            except AssertionError as error:
                raise ValueError(
                    f"teacher '{teacher}': recorder {dict(recorder)} has no such source "
                    f'in its {type(self.networks[teacher]).__name__} ({error})'
                ) from error
            self._recorders[teacher][key] = manager
            self._facts.pop(teacher, None)
        return key

    def keep(self, source: str, store: RecordStore) -> None:
        """Keep what teachers record of the views of one source in ``store`` from now on.

        Args:
            source: Of the views, see :class:`BatchViews`.
            store: For instance one in memory, for a split that every epoch sees alike.
        """
        self.kept[source] = store

    def drop(self, source: str) -> None:
        """Undo :meth:`keep`: teachers run on every batch of this source again."""
        self.kept.pop(source, None)

    @torch.no_grad()
    def run(
        self,
        names: Iterable[str],
        inputs: torch.Tensor,
        rows: Mapping[str, torch.Tensor] | None = None,
        views: BatchViews | None = None,
    ) -> Records:
        """Run the named teachers once, or read what they recorded of these views before.

        Args:
            names: Teachers to run.
            inputs: (B, C, H, W) raw pixels, 0..255, as the data set stores them (BGR or RGB).
            rows: ``{teacher: (k,) indices}`` of the samples that a teacher must see, where it does
                not need to see all of them.
            views: Which views the batch holds, for a store.

        Returns:
            ``{teacher: {recorder key: list of records}}``, with the network's output (logits) under
            ``'outputs'``. The records of a teacher that ran on some rows only are 0 elsewhere.
        """
        records = {}
        for name in names:
            own = (rows or {}).get(name)
            if own is None or len(own) == len(inputs):
                records[name] = self._records(name, inputs, views, None)
            else:
                records[name] = spread(
                    self._records(name, inputs[own], views, own), own, len(inputs)
                )
        return records

    def _records(
        self,
        name: str,
        inputs: torch.Tensor,
        views: BatchViews | None,
        rows: torch.Tensor | None,
    ) -> dict[str, list[Any]]:
        """Records of one teacher of ``inputs``, which are ``rows`` of the batch."""
        store = None if views is None else self.store or self.kept.get(views.source)
        if store is None or views is None:
            return self._compute(name, inputs)
        return store.records(
            name,
            self._facts_of(name),
            views,
            views.ids if rows is None else views.ids[rows.cpu()],
            inputs.device,
            self._computer(name, inputs),
        )

    def _computer(
        self, name: str, inputs: torch.Tensor
    ) -> Callable[[torch.Tensor | None], dict[str, list[Any]]]:
        """A function that computes the records of some of the inputs, or of all (None)."""
        return lambda rows: self._compute(
            name, inputs if rows is None else inputs[rows.to(inputs.device)]
        )

    def _compute(self, name: str, inputs: torch.Tensor) -> dict[str, list[Any]]:
        managers = self._recorders[name]
        self._accelerate(name, inputs)
        with contextlib.ExitStack() as stack:
            for manager in managers.values():
                stack.enter_context(manager)
            output = self._forward(name, inputs)
        records = {
            key: plain_record(list(manager.get_recorder(key).data_buffer))
            for key, manager in managers.items()
        }
        records[OUTPUTS] = [plain_record(output)]
        return records

    def _facts_of(self, name: str) -> dict[str, Any]:
        """All that a teacher's records depend on; its weights only if files are keyed by them."""
        if name not in self._facts:
            recorders = list(self._recorders[name])
            self._facts[name] = (
                dict(recorders=recorders)
                if self.store is None
                else teacher_facts(self.networks[name], recorders, self.fast)
            )
        return self._facts[name]

    def _forward(self, name: str, inputs: torch.Tensor) -> Any:
        network = self.networks[name]
        with self.fast.autocast(inputs.device):
            return network(self.fast.layout(own_inputs(network, inputs)), mode='tensor')

    @torch.no_grad()
    def output(self, name: str, inputs: torch.Tensor) -> Any:
        """Run one teacher; nothing is recorded, kept or folded.

        Args:
            name: The teacher.
            inputs: (B, C, H, W) raw pixels, 0..255.

        Returns:
            The network's output, usually (B, classes) logits.
        """
        return plain_record(self._forward(name, inputs))

    def _accelerate(self, name: str, inputs: torch.Tensor) -> None:
        if name not in self._accelerated and self.fast != Fast():
            self._facts_of(name)  # of the weights as they were
            accelerate(
                name, self.networks[name], self.fast, lambda: self._forward(name, inputs[:2])
            )
            self._accelerated.add(name)

    def classify(self, name: str, feature: torch.Tensor) -> torch.Tensor:
        """Apply a teacher's own neck and head to a feature map of its last stage.

        Args:
            name: The teacher.
            feature: (B, C, H, W).

        Returns:
            (B, classes) logits.

        Raises:
            ValueError: If the teacher has no head of its own.
        """
        network = self.networks[name]
        if getattr(network, 'head', None) is None:
            raise ValueError(
                f"teacher '{name}' ({type(network).__name__}) has no head of its own to classify "
                'another feature with'
            )
        features = (feature,)
        with self.fast.autocast(feature.device):
            if getattr(network, 'neck', None) is not None:
                features = network.neck(features)
            logits: torch.Tensor = plain_record(network.head(features))
        return logits

    def apply(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Replace every parameter and buffer by ``function`` of it, as ``.to()`` does."""
        for network in self.networks.values():
            apply_to_tensors(network, function)

    def set_device(self, device: torch.device) -> None:
        """Tell the teachers' preprocessors where inputs go; they do not follow ``.to()``."""
        for network in self.networks.values():
            set_device(network, device)

    def __deepcopy__(self, memo: dict[int, Any]) -> 'TeacherEnsemble':
        return self
