"""From constructor arguments to lanes and preprocessors."""

import copy
from collections.abc import Mapping, Sequence

from torch import nn

from mmdynakd.models.classifier import classifier_config
from mmdynakd.models.distillers import CategoricalDistiller
from mmdynakd.models.preprocessor import BatchPreprocessor
from mmdynakd.names import is_lane_name, unknown_names
from mmdynakd.old_keys import new_keys
from mmdynakd.registry import MODELS

from .lane import Lane
from .randomness import same_start

BATCH_KEYS = ('batch_augments',)


def in_order(teachers: Mapping[str, Mapping], order: Sequence[str] | None) -> Mapping[str, Mapping]:
    """The teachers in ``order``; raises ValueError if it does not name each of them once."""
    if teachers is not None and not isinstance(teachers, Mapping):
        raise ValueError(
            f'model.teachers must be a dict, {{name: dict(model=…, checkpoint=…)}}, got '
            f'{teachers!r}'
        )
    if order is None:
        return teachers
    if sorted(order) != sorted(teachers):
        raise ValueError(
            f'teacher_order must name each of the teachers {list(teachers)} once, got {list(order)}'
        )
    return {name: teachers[name] for name in order}


def with_preprocessor(
    architecture: Mapping | nn.Module, data_preprocessor: Mapping | None
) -> tuple[Mapping | nn.Module, dict | None]:
    """The student's config with its preprocessor, and that preprocessor's config (None for a built
    student).
    """
    if not isinstance(architecture, Mapping):
        return architecture, None
    architecture = classifier_config(architecture)
    own = architecture.get('data_preprocessor')
    if own is None and data_preprocessor:
        own = {
            k: v for k, v in copy.deepcopy(dict(data_preprocessor)).items() if k not in BATCH_KEYS
        }
    if own is not None:
        own = dict(own)
        own.setdefault('type', 'mmpretrain.ClsDataPreprocessor')
        architecture['data_preprocessor'] = own
    return architecture, own


def raw_preprocessor(
    data_preprocessor: Mapping | None, own: Mapping | None, architecture: Mapping | nn.Module
) -> nn.Module:
    """Stacks the batch as raw pixels (every network normalises for itself) and applies the batch
    augmentations.

    As in MMPretrain, these are the preprocessor's ``batch_augments`` or else the classifier's
    ``train_cfg``.
    """
    source = data_preprocessor or own or {}
    kept = {
        k: copy.deepcopy(source[k])
        for k in (*BATCH_KEYS, 'to_onehot', 'num_classes')
        if k in source
    }
    if isinstance(architecture, Mapping) and architecture.get('train_cfg'):
        kept.setdefault('batch_augments', copy.deepcopy(architecture['train_cfg']))
    return BatchPreprocessor(**kept)


def build_lanes(
    student: nn.Module, teachers: list[str], lanes: Mapping[str, Mapping], defaults: dict
) -> nn.ModuleDict:
    """One lane a name, each with a copy of the student; every lane is built from the same random
    state.
    """
    if not isinstance(lanes, Mapping):
        raise ValueError(f'model.lanes must be a dict, {{name: overrides}}, got {lanes!r}')
    lanes = {
        name: _checked(name, overrides, defaults, teachers) for name, overrides in lanes.items()
    }
    students = [student, *(copy.deepcopy(student) for _ in range(len(lanes) - 1))]
    pairs = list(zip(students, lanes.values()))
    built = same_start(pairs, lambda pair: _build_lane(*pair, defaults, teachers))
    return nn.ModuleDict(zip(lanes, built))


def _build_lane(
    student: nn.Module, overrides: Mapping, defaults: dict, teachers: list[str]
) -> Lane:
    """A lane from the model's settings and what overrides them; labels alone weigh 1 by default."""
    setting = {**defaults, **overrides}
    employed, distiller = list(setting['teachers'] or teachers), setting['distiller']
    selection = MODELS.build({**_selection_config(overrides, defaults), 'teachers': employed})
    if isinstance(distiller, Mapping) and set(distiller) == set(teachers):
        distiller = {teacher: distiller[teacher] for teacher in employed}  # one a teacher
    if not selection.teachers:
        setting['student_loss_weight'] = overrides.get('student_loss_weight', 1.0)
    return Lane(
        student,
        selection,
        CategoricalDistiller(distiller, selection.teachers, setting['mix'], selection.learnable),
        **{key: setting[key] for key in ('student_loss_weight', 'upper_objective', 'virtual_lr')},
    )


def _selection_config(overrides: Mapping, defaults: dict) -> dict:
    """Config of a lane's selection: over the model's own, unless it is of another type."""
    default = defaults['selection']
    own = overrides.get('selection', default)
    if own is None:
        return dict(type='mmdynakd.LabelsOnly')
    if 'type' not in own:
        own = {**(default or {}), **own}
    return {'type': 'mmdynakd.CategoricalDistribution', **own}


def _checked(name: str, overrides: Mapping, defaults: dict, teachers: list[str]) -> dict:
    """A lane's overrides, under the keys of this version."""
    if not is_lane_name(name) or hasattr(nn.ModuleDict, name):
        raise ValueError(
            f"lane name {name!r} must be non-empty text without '.', '/', '\\', 'loss' or control "
            "characters, of at most 100 letters, and no name of torch's ModuleDict ('train', "
            "'keys', …)"
        )
    if not isinstance(overrides, Mapping):
        raise ValueError(f'lanes.{name} may override {sorted(defaults)}, got {overrides!r}')
    overrides = new_keys(overrides, f'lanes.{name}')
    unknown = unknown_names(overrides, defaults)
    if unknown:
        raise ValueError(f'lanes.{name} may override {sorted(defaults)}; unknown: {unknown}')
    unknown = unknown_names(overrides.get('teachers') or [], teachers)
    if unknown:
        raise ValueError(
            f'lanes.{name}.teachers names no teachers of the ensemble: [{unknown}]; there are '
            f'{teachers}'
        )
    selection = overrides.get('selection')
    if not isinstance(selection, (Mapping, type(None))):
        raise ValueError(
            f'lanes.{name}.selection must be None (labels only) or a dict such as '
            f"dict(probs='uniform'), got {selection!r}"
        )
    return overrides
