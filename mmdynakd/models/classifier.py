"""Configs of classifiers, given in full or by the name of a config of MMPretrain."""

import copy
from collections.abc import Mapping

from mmengine.config import Config
from mmengine.hub import get_config


def classifier_config(cfg: Mapping) -> dict:
    """A copy of a classifier's config.

    ``dict(cfg_path='mmpretrain::resnet/resnet50_8xb16_cifar100.py')`` stands for the model of that
    config file with its data preprocessor; further keys override the model's.

    Raises:
        ValueError: if the config file has no model.
    """
    cfg = copy.deepcopy(dict(cfg))
    path = cfg.pop('cfg_path', None)
    if path is None:
        return cfg
    whole = get_config(path)
    if 'model' not in whole:
        raise ValueError(f'cfg_path={path!r} is no config of a model')
    model = whole.model.to_dict()
    if 'data_preprocessor' in whole:
        model.setdefault('data_preprocessor', whole.data_preprocessor.to_dict())
    merged = Config(dict(model=model))
    merged.merge_from_dict(dict(model=cfg))
    return merged.model.to_dict()
