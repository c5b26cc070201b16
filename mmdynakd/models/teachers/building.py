"""From an entry of ``model.teachers`` to a frozen network with its weights."""

import copy
import logging
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from mmpretrain.models import BaseClassifier
from torch import nn

from mmdynakd.models.classifier import classifier_config
from mmdynakd.names import unknown_names
from mmdynakd.registry import MODELS

from .checkpoints import load_checkpoint_into

TEACHER_KEYS = ('accuracy', 'checkpoint', 'config', 'model', 'source')


def build_teacher(
    name: str, entry: Mapping[str, Any], default_preprocessor: Mapping[str, Any] | None = None
) -> BaseClassifier:
    """Build one teacher, load its checkpoint and freeze it.

    Args:
        name: Its name in the ensemble.
        entry: See :class:`TeacherEnsemble`.
        default_preprocessor: Config of the preprocessor, if the model's config has none.

    Raises:
        ValueError: For another name, or an entry of another shape.
        CheckpointError: See :func:`load_checkpoint_into`.

    Examples:
        >>> network = build_teacher('identity', dict(model=nn.Linear(2, 2).train()))
        >>> network.training, network.weight.requires_grad
        (False, False)
    """
    _check_entry(name, entry)
    model = entry['model']
    if isinstance(model, Mapping):
        model = _from_config(name, entry, default_preprocessor)
    if entry.get('checkpoint'):
        config = entry.get('config')
        command = f'mmdynakd train {config}' if config else None
        layout = load_checkpoint_into(
            model, entry['checkpoint'], name=name, train_command=command, source=entry.get('source')
        )
        print_log(f"teacher '{name}': {entry['checkpoint']} ({layout} layout)", 'current')
    return _freeze(model)


def own_inputs(network: BaseClassifier, inputs: torch.Tensor) -> torch.Tensor:
    """Apply a network's own preprocessor (colour order, mean, std) to raw pixels.

    Args:
        network: A classifier of MMPretrain.
        inputs: (B, C, H, W), 0..255.

    Examples:
        >>> from mmdynakd.models.toy import toy_classifier
        >>> scaled = dict(type='mmpretrain.ClsDataPreprocessor', mean=[90], std=[10])
        >>> network = MODELS.build(dict(toy_classifier(), data_preprocessor=scaled))
        >>> own_inputs(network, torch.full((1, 1, 1, 1), 100.0)).item()
        1.0
    """
    preprocessed: torch.Tensor = network.data_preprocessor(dict(inputs=inputs), training=False)[
        'inputs'
    ]
    return preprocessed


def num_classes(network: BaseClassifier) -> int | None:
    """Return the number of classes of a classifier; None if it does not say.

    Examples:
        >>> from mmdynakd.models.toy import toy_classifier
        >>> num_classes(MODELS.build(toy_classifier()))
        3
    """
    return getattr(getattr(network, 'head', None), 'num_classes', None)


def _check_entry(name: object, entry: object) -> None:
    if not isinstance(name, str) or hasattr(nn.ModuleDict, name) or '.' in name or not name:
        raise ValueError(
            f"teacher name {name!r} must be non-empty, without '.', and different from the methods "
            "of torch's ModuleDict ('train', 'keys', …)"
        )
    unknown = unknown_names(entry, TEACHER_KEYS) if isinstance(entry, Mapping) else ''
    if not isinstance(entry, Mapping) or 'model' not in entry or unknown:
        raise ValueError(
            f'teachers.{name} must be dict(model=…, checkpoint=…, config=…), '
            f'{f"unknown: {unknown}" if unknown else f"got {entry!r}"}'
        )


def _from_config(
    name: str, entry: Mapping[str, Any], default_preprocessor: Mapping[str, Any] | None
) -> BaseClassifier:
    config = classifier_config(entry['model'])
    if default_preprocessor and 'data_preprocessor' not in config:
        print_log(f"teacher '{name}' has no data_preprocessor: it uses the student's", 'current')
        config['data_preprocessor'] = copy.deepcopy(dict(default_preprocessor))
    model = MODELS.build(config)
    if not entry.get('checkpoint'):
        _load_own_weights(name, model)
    return model


def _load_own_weights(name: str, model: BaseClassifier) -> None:
    """Load the weights that ``pretrained=`` or ``init_cfg`` names, for want of a checkpoint."""
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


def _freeze(network: BaseClassifier) -> BaseClassifier:
    network.eval()
    network.requires_grad_(False)
    network.train = lambda mode=True: network  # stays in eval mode whoever asks
    return network
