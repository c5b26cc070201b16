"""The frozen teachers behind MMRazor's recorders."""

import contextlib
import copy
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmrazor.models.task_modules import RecorderManager
from torch import nn

from mmdynakd.models.classifier import classifier_config
from mmdynakd.models.fast import Fast, plain_record
from mmdynakd.models.samples import BatchViews
from mmdynakd.names import unknown_names
from mmdynakd.registry import MODELS

from .folding import accelerate
from .loading import load_checkpoint_into
from .records import OUTPUTS, Records, spread
from .store import RecordStore, teacher_facts

TEACHER_KEYS = {'model', 'checkpoint', 'config', 'accuracy', 'source'}


class TeacherEnsemble:
    """Ordered, named, frozen teachers; each runs at most once a step, on raw inputs, under its own
    preprocessor.

    It is no ``nn.Module``, so that teachers are outside the state dict, the optimizers and DDP; its
    owner forwards ``_apply`` to it. Teachers are in eval mode always (Dropout too) and never see a
    gradient.

    Args:
        teachers: ``{name: dict(model=…, checkpoint=…, config=…)}``, strong to weak. ``model`` is a
            MMPretrain classifier (config or module), ``checkpoint`` a path, a https URL or
            ``dict(path=…, part=…)`` (None: ``model`` brings its weights, by ``pretrained=`` or as a
            module). ``config``, the file that trains it, and ``source``, where it is from, are for
            the error when the checkpoint is missing; ``accuracy`` is a note.
        default_preprocessor: preprocessor config of teachers that have none of their own.
        fast: how they are computed, see :class:`Fast`; they are changed at their first run.
        store: what they record is kept there, where a batch says which views it holds.

    Attributes:
        kept: stores for one source of views each, see :meth:`keep`; ``store`` comes before them.
        checkpoints: where each teacher's weights came from, as its entry says.

    Raises:
        ValueError: no teachers, or an entry of another shape.
        CheckpointError: see :func:`load_checkpoint_into`.
    """

    def __init__(
        self,
        teachers: Mapping[str, Mapping],
        default_preprocessor: dict | None = None,
        fast: Fast | None = None,
        store: RecordStore | None = None,
    ) -> None:
        if not teachers:
            raise ValueError(
                'DynaKD needs at least one teacher: teachers=dict(name=dict(model=…, checkpoint=…))'
            )
        self.networks: dict[str, nn.Module] = {}
        self.fast = fast or Fast()
        self.store = store
        self.kept: dict[str, RecordStore] = {}
        self._facts: dict[str, dict] = {}
        self._recorders: dict[str, dict[str, RecorderManager]] = {}
        self._accelerated: set[str] = set()
        self.checkpoints: dict[str, str | Mapping | None] = {}
        for name, entry in teachers.items():
            self.networks[name] = _build_teacher(name, entry, default_preprocessor)
            self.checkpoints[name] = entry.get('checkpoint')
            self._recorders[name] = {}

    @property
    def names(self) -> list[str]:
        return list(self.networks)

    def check_classes(self, student: nn.Module) -> None:
        """Raises ValueError if a teacher tells another number of classes than the student."""
        expected = _num_classes(student)
        for name, network in self.networks.items():
            count = _num_classes(network)
            if None not in (expected, count) and count != expected:
                raise ValueError(
                    f"teacher '{name}' has {count} classes, the student has {expected}: "
                    f'set head.num_classes of teachers.{name}.model, or use another teacher'
                )

    def record(self, teacher: str, recorder: Mapping) -> str:
        """Asks for a MMRazor recorder on a teacher; equal configs share one. Returns its key in the
        records.
        """
        key = repr(sorted(recorder.items()))
        if key not in self._recorders[teacher]:
            if teacher in self._accelerated:
                raise ValueError(
                    f"teacher '{teacher}' was folded or compiled at its first run: ask for its "
                    'recorders '
                    'before, or set fast=None'
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
        """From now on ``store`` keeps what teachers record of the views of one source.

        Args:
            source: of the views, see :class:`BatchViews`.
            store: for instance one in memory, for a split that every epoch sees alike.
        """
        self.kept[source] = store

    def drop(self, source: str) -> None:
        """Forgets what :meth:`keep` said of a source: teachers run on its batches again."""
        self.kept.pop(source, None)

    @torch.no_grad()
    def run(
        self,
        names: Iterable[str],
        inputs: torch.Tensor,
        rows: Mapping[str, torch.Tensor] | None = None,
        views: BatchViews | None = None,
    ) -> Records:
        """Runs the named teachers once, or reads what they recorded of these views before.

        Args:
            names: teachers to run.
            inputs: (B, C, H, W) raw pixels, 0..255, as the data set stores them (BGR or RGB).
            rows: ``{teacher: (k,) indices}`` of the samples that a teacher must see, where not all.
            views: which views the batch holds, for a store.

        Returns:
            ``{teacher: {recorder key: list of records}}``, the network's output (logits) under
            ``'outputs'``. The records of a teacher that ran on its rows alone are 0 elsewhere.
        """
        store = None if views is None else self.store or self.kept.get(views.source)
        records = {}
        for name in names:
            own = (rows or {}).get(name)
            own = None if own is None or len(own) == len(inputs) else own
            part = inputs if own is None else inputs[own]
            if store is None:
                found = self._compute(name, part)
            else:
                found = store.records(
                    name,
                    self._facts_of(name),
                    views,
                    views.ids if own is None else views.ids[own.cpu()],
                    inputs.device,
                    self._computer(name, part),
                )
            records[name] = found if own is None else spread(found, own, len(inputs))
        return records

    def _computer(self, name: str, inputs: torch.Tensor):
        """What computes the records of some of the inputs, or of all (None)."""
        return lambda rows: self._compute(
            name, inputs if rows is None else inputs[rows.to(inputs.device)]
        )

    def _compute(self, name: str, inputs: torch.Tensor) -> dict[str, list]:
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

    def _facts_of(self, name: str) -> dict:
        """What the teacher's records are a function of; its weights only where files are keyed by
        them.
        """
        if name not in self._facts:
            recorders = list(self._recorders[name])
            self._facts[name] = (
                dict(recorders=recorders)
                if self.store is None
                else teacher_facts(self.networks[name], recorders, self.fast)
            )
        return self._facts[name]

    def _forward(self, name: str, inputs: torch.Tensor) -> torch.Tensor:
        network = self.networks[name]
        with self.fast.autocast(inputs.device):
            return network(self.fast.layout(own_inputs(network, inputs)), mode='tensor')

    @torch.no_grad()
    def output(self, name: str, inputs: torch.Tensor) -> Any:
        """A teacher's own output, usually (B, C) logits, on raw inputs; nothing is recorded, kept
        or folded.
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
        """A teacher's own neck and head on a feature map of its last stage: (B, C, H, W) to (B,
        classes).
        """
        network = self.networks[name]
        if getattr(network, 'head', None) is None:
            raise ValueError(
                f"teacher '{name}' ({type(network).__name__}) has no head of its own to classify "
                'another feature with'
            )
        features = (feature,)
        with self.fast.autocast(feature.device):
            return plain_record(
                network.head(
                    network.neck(features)
                    if getattr(network, 'neck', None) is not None
                    else features
                )
            )

    def _apply(self, fn) -> None:
        for network in self.networks.values():
            network._apply(fn)

    def set_device(self, device: torch.device) -> None:
        """Tells the teachers' preprocessors where inputs go (MMEngine's preprocessors keep their
        device).
        """
        for network in self.networks.values():
            if hasattr(network, '_set_device'):
                network._set_device(device)

    def __deepcopy__(self, memo: dict) -> 'TeacherEnsemble':
        return self


def own_inputs(network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Raw (B, C, H, W) inputs under the network's own preprocessor (colour order, mean, std)."""
    return network.data_preprocessor(dict(inputs=inputs), training=False)['inputs']


def _build_teacher(name: str, entry: Mapping, default_preprocessor: dict | None) -> nn.Module:
    if not isinstance(name, str) or hasattr(nn.ModuleDict, name) or '.' in name or not name:
        raise ValueError(
            f"teacher name {name!r} must be non-empty, without '.', and no name of torch's "
            'ModuleDict '
            "('train', 'keys', …)"
        )
    unknown = unknown_names(entry, sorted(TEACHER_KEYS)) if isinstance(entry, Mapping) else ''
    if not isinstance(entry, Mapping) or 'model' not in entry or unknown:
        raise ValueError(
            f'teachers.{name} must be dict(model=…, checkpoint=…, config=…), '
            f'{f"unknown: {unknown}" if unknown else f"got {entry!r}"}'
        )
    model = entry['model']
    if isinstance(model, Mapping):
        model = classifier_config(model)
        if default_preprocessor and 'data_preprocessor' not in model:
            print_log(
                f"teacher '{name}' has no data_preprocessor: it uses the student's", 'current'
            )
            model['data_preprocessor'] = copy.deepcopy(default_preprocessor)
        model = MODELS.build(model)
        if not entry.get('checkpoint'):
            _own_weights(name, model)
    if entry.get('checkpoint'):
        config = entry.get('config')
        command = f'mmdynakd train {config}' if config else None
        layout = load_checkpoint_into(
            model, entry['checkpoint'], name=name, train_command=command, source=entry.get('source')
        )
        print_log(f"teacher '{name}': {entry['checkpoint']} ({layout} layout)", 'current')
    return _freeze(model)


def _own_weights(name: str, model: nn.Module) -> None:
    """Loads what ``pretrained=`` or ``init_cfg=dict(type='Pretrained')`` of a teacher without a
    checkpoint names.
    """
    configs = [getattr(module, 'init_cfg', None) for module in model.modules()]
    if any(isinstance(cfg, Mapping) and cfg.get('type') == 'Pretrained' for cfg in configs):
        model.init_weights()
    else:
        print_log(
            f"teacher '{name}' has no checkpoint: its weights are random (set "
            f'teachers.{name}.checkpoint)',
            'current',
            logging.WARNING,
        )


def _freeze(network: nn.Module) -> nn.Module:
    network.eval()
    network.requires_grad_(False)
    network.train = lambda mode=True: network  # stays in eval whoever asks
    return network


def _num_classes(network: nn.Module) -> int | None:
    return getattr(getattr(network, 'head', None), 'num_classes', None)
