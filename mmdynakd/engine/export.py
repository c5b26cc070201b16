"""A student alone: a checkpoint and a config that MMPretrain loads."""
import copy
import os
import os.path as osp

import torch
from mmengine.config import Config
from torch import nn


def export_student(cfg: Config, student: nn.Module, dataset, out_dir: str) -> str:
    """Writes ``student.pth`` (weights, no teacher) and ``student.py`` (config) to ``out_dir``.

    Both are what MMPretrain's ``init_model`` / ``inference_model`` and ``tools/test.py`` take.

    Args:
        cfg: config of the DynaKD run, whose ``model.architecture`` is the student's.
        student: the trained network.
        dataset: its ``metainfo`` (class names) goes along.
        out_dir: existing folder.

    Returns:
        Path of the checkpoint.
    """
    model = copy.deepcopy(cfg.model.architecture)
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
    if 'data_preprocessor' not in model and preprocessor is not None:
        model.data_preprocessor = copy.deepcopy(preprocessor)
    kept = {key: cfg[key] for key in ('test_dataloader', 'test_evaluator') if cfg.get(key) is not None}
    Config(dict(default_scope='mmpretrain', model=model, test_cfg=dict(), **kept)).dump(osp.join(out_dir, 'student.py'))
    path = osp.join(out_dir, 'student.pth')
    weights = {key: value.detach().cpu().clone() for key, value in student.state_dict().items()}
    torch.save(dict(meta=dict(dataset_meta=_plain(getattr(dataset, 'metainfo', {}))), state_dict=weights), path + '.tmp')
    os.replace(path + '.tmp', path)
    return path


def _plain(meta: dict) -> dict:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in meta.items()}
