"""From constructor arguments to lanes and preprocessors."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast

from mmpretrain.models import BaseClassifier
from torch import nn

from mmdynakd.models.classifier import classifier_config
from mmdynakd.models.distillers import CategoricalDistiller
from mmdynakd.models.preprocessor import BatchPreprocessor
from mmdynakd.names import is_lane_name, unknown_names
from mmdynakd.old_keys import new_keys
from mmdynakd.registry import MODELS

from .lane import Lane
from .randomness import same_start

Settings = Mapping[str, Any]

BATCH_KEYS = ('batch_augments',)


def in_order(
    teachers: Mapping[str, Settings], order: Sequence[str] | None
) -> Mapping[str, Settings]:
    """Put the teachers in ``order``.

    Args:
        teachers: Entries by name.
        order: Names; None keeps the order of the mapping.

    Raises:
        ValueError: If it does not name each teacher once, or ``teachers`` is not a dict.

    Examples:
        >>> list(in_order({'a': {}, 'b': {}}, ['b', 'a']))
        ['b', 'a']
    """
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
    architecture: Settings | BaseClassifier, data_preprocessor: Settings | None
) -> tuple[Settings | BaseClassifier, dict[str, Any] | None]:
    """Give the student's config its preprocessor.

    Args:
        architecture: Config of the student, or a student that is built already.
        data_preprocessor: Config for a student that has none.

    Returns:
        The student's config, and that of its preprocessor; for a built student, itself and None.

    Examples:
        >>> with_preprocessor(dict(type='ImageClassifier'), dict(mean=[0.5], batch_augments=[]))[1]
        {'mean': [0.5], 'type': 'mmpretrain.ClsDataPreprocessor'}
    """
    if not isinstance(architecture, Mapping):
        return architecture, None
    config = classifier_config(architecture)
    own = config.get('data_preprocessor')
    if own is None and data_preprocessor:
        own = {
            k: v for k, v in copy.deepcopy(dict(data_preprocessor)).items() if k not in BATCH_KEYS
        }
    if own is not None:
        own = dict(own)
        own.setdefault('type', 'mmpretrain.ClsDataPreprocessor')
        config['data_preprocessor'] = own
    return config, own


def raw_preprocessor(
    data_preprocessor: Settings | None,
    own: Settings | None,
    architecture: Settings | BaseClassifier,
) -> BatchPreprocessor:
    """Build what stacks a batch as raw pixels and applies the batch augmentations.

    Every network normalises for itself. The batch augmentations are, as in MMPretrain, the
    preprocessor's ``batch_augments``, or else the classifier's ``train_cfg``.

    Args:
        data_preprocessor: ``model.data_preprocessor``.
        own: Config of the student's preprocessor.
        architecture: Config of the student, or a built one.

    Examples:
        >>> raw_preprocessor(dict(mean=[0.5], std=[0.5]), None, {}).batch_augments is None
        True
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
    student: BaseClassifier,
    teachers: Sequence[str],
    lanes: Mapping[str, Settings],
    defaults: Settings,
) -> Mapping[str, Lane]:
    """Build one lane per name, each with a copy of the student, from the same random state.

    Args:
        student: Its weights are the start of every lane.
        teachers: Names of the teachers of the ensemble.
        lanes: ``{name: overrides}``.
        defaults: The model's settings, over which a lane's overrides are laid.

    Returns:
        The lanes by name, a ``nn.ModuleDict``.

    Raises:
        ValueError: For another lane name, key or teacher, see also the components.

    Examples:
        >>> from mmdynakd.models.toy import toy_classifier, toy_distiller
        >>> defaults = dict(
        ...     selection={}, distiller=toy_distiller(), mix='outputs', student_loss_weight=0.1,
        ...     upper_objective='first_order', virtual_lr=None, teachers=None)
        >>> lanes = dict(search={}, ce=dict(selection=None))
        >>> built = build_lanes(MODELS.build(toy_classifier()), ['a', 'b'], lanes, defaults)
        >>> {name: lane.student_loss_weight for name, lane in built.items()}
        {'search': 0.1, 'ce': 1.0}
    """
    if not isinstance(lanes, Mapping):
        raise ValueError(f'model.lanes must be a dict, {{name: overrides}}, got {lanes!r}')
    lanes = {
        name: _checked(name, overrides, defaults, teachers) for name, overrides in lanes.items()
    }
    students = [student, *(copy.deepcopy(student) for _ in range(len(lanes) - 1))]
    pairs = list(zip(students, lanes.values()))
    built = same_start(pairs, lambda pair: _build_lane(*pair, defaults, teachers))
    return cast(Mapping[str, Lane], nn.ModuleDict(dict(zip(lanes, built))))


def checked_selection(selection: object, place: str) -> dict[str, Any] | None:
    """Check that the setting ``selection`` is None (labels only) or a dict; return a copy.

    Args:
        selection: What the config says.
        place: Where it stands, for the message.

    Raises:
        ValueError: If it is anything else.

    Examples:
        >>> checked_selection('uniform', 'model')
        Traceback (most recent call last):
        ValueError: model.selection must be None (labels only) or a dict such as \
dict(probs='uniform'), got 'uniform'
    """
    if selection is None:
        return None
    if not isinstance(selection, Mapping):
        raise ValueError(
            f'{place}.selection must be None (labels only) or a dict such as '
            f"dict(probs='uniform'), got {selection!r}"
        )
    return dict(selection)


def _build_lane(
    student: BaseClassifier, overrides: Settings, defaults: Settings, teachers: Sequence[str]
) -> Lane:
    """Lay a lane's overrides over the model's settings; labels alone have weight 1 by default."""
    setting = {**defaults, **overrides}
    employed, distiller = list(setting['teachers'] or teachers), setting['distiller']
    selection = MODELS.build({**_selection_config(overrides, defaults), 'teachers': employed})
    if isinstance(distiller, Mapping) and set(distiller) == set(teachers):
        distiller = {teacher: distiller[teacher] for teacher in employed}  # one per teacher
    if not selection.teachers:
        setting['student_loss_weight'] = overrides.get('student_loss_weight', 1.0)
    return Lane(
        student,
        selection,
        CategoricalDistiller(distiller, selection.teachers, setting['mix'], selection.learnable),
        **{key: setting[key] for key in ('student_loss_weight', 'upper_objective', 'virtual_lr')},
    )


def _selection_config(overrides: Settings, defaults: Settings) -> dict[str, Any]:
    """Lay a lane's selection over the model's own, unless it is of another type."""
    default = defaults['selection']
    own = overrides.get('selection', default)
    if own is None:
        return dict(type='mmdynakd.LabelsOnly')
    if 'type' not in own:
        own = {**(default or {}), **own}
    return {'type': 'mmdynakd.CategoricalDistribution', **own}


def _checked(
    name: str, overrides: Settings, defaults: Settings, teachers: Sequence[str]
) -> dict[str, Any]:
    """A lane's overrides, under the keys of this version."""
    if not is_lane_name(name) or hasattr(nn.ModuleDict, name):
        raise ValueError(
            f"lane name {name!r} must be non-empty text without '.', '/', '\\', 'loss' or control "
            "characters, at most 100 letters long, and different from the methods of torch's "
            "ModuleDict ('train', 'keys', …)"
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
            f'lanes.{name}.teachers are not all in the ensemble: [{unknown}]; there are '
            f'{list(teachers)}'
        )
    checked_selection(overrides.get('selection'), f'lanes.{name}')
    return overrides
