"""Configs of classifiers, given in full or by the name of one of MMPretrain's config files."""

import copy
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.hub import get_config


def classifier_config(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a classifier's config; ``cfg_path`` is replaced by what that file holds.

    ``dict(cfg_path='mmpretrain::resnet/resnet50_8xb16_cifar100.py')`` stands for the model of that
    config file together with its data preprocessor. Further keys override the model's.

    Args:
        cfg: The config, with or without ``cfg_path``.

    Returns:
        A config without ``cfg_path``. It shares nothing with ``cfg``.

    Raises:
        ValueError: If the config file has no model.

    Examples:
        >>> path = 'mmpretrain::resnet/resnet18_8xb16_cifar10.py'
        >>> cfg = classifier_config(dict(cfg_path=path, head=dict(num_classes=100)))
        >>> cfg['backbone']['type'], cfg['head']['num_classes']
        ('ResNet_CIFAR', 100)
    """
    own = copy.deepcopy(dict(cfg))
    path = own.pop('cfg_path', None)
    if path is None:
        return own
    whole = get_config(path)
    if 'model' not in whole:
        raise ValueError(f'cfg_path={path!r} has no model: name the config file of a classifier')
    model = whole.model.to_dict()
    if 'data_preprocessor' in whole:
        model.setdefault('data_preprocessor', whole.data_preprocessor.to_dict())
    merged = Config(dict(model=model))
    merged.merge_from_dict(dict(model=own))
    result: dict[str, Any] = merged.model.to_dict()
    return result
