"""A student alone: a checkpoint and a config that MMPretrain loads."""

import copy
import os.path as osp

import torch
from mmengine.config import Config
from torch import nn

from mmdynakd.datasets.source import as_image_files
from mmdynakd.files import read_json, whole, write_bytes, write_json, write_text
from mmdynakd.models.classifier import classifier_config


def export_student(cfg: Config, student: nn.Module, dataset, out_dir: str) -> str:
    """Writes ``student.pth`` (weights, no teacher), ``student.py`` (config) and ``student.yml``
    (index) to a folder.

    MMPretrain's ``init_model`` and ``ImageClassificationInferencer`` take the first two, as
    ``mmdynakd test`` does. Its ``inference_model`` knows indexed models alone:
    ``ModelHub.register_model_index`` takes the third, and the student's name there is that of the
    folder.

    Args:
        cfg: config of the DynaKD run, whose ``model.architecture`` is the student's.
        student: the trained network.
        dataset: its ``metainfo`` (class names) goes along.
        out_dir: existing folder.

    Returns:
        Path of the checkpoint.
    """
    model = classifier_config(cfg.model.architecture)
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
    if 'data_preprocessor' not in model and preprocessor is not None:
        model['data_preprocessor'] = copy.deepcopy(preprocessor)
    test = ('test_dataloader', 'test_evaluator')
    kept = {key: copy.deepcopy(cfg[key]) for key in test if cfg.get(key) is not None}
    _read_like_files(model, kept.get('test_dataloader'))
    config = Config(dict(default_scope='mmpretrain', model=model, test_cfg=dict(), **kept))
    write_text(out_dir, 'student.py', config.pretty_text)
    path = osp.join(out_dir, 'student.pth')
    weights = {key: value.detach().cpu().clone() for key, value in student.state_dict().items()}
    meta = dict(dataset_meta=_plain(getattr(dataset, 'metainfo', {})))
    with whole(path) as temporary:
        torch.save(dict(meta=meta, state_dict=weights), temporary)
    write_json(out_dir, 'student.yml', _model_index(path, type(dataset).__name__))
    return path


def copy_student(source: str, out_dir: str) -> None:
    """Copies what :func:`export_student` wrote to one folder into another, whose name the index
    then has.
    """
    for name in ('student.py', 'student.pth'):
        with open(osp.join(source, name), 'rb') as file:
            write_bytes(out_dir, name, file.read())
    dataset = read_json(osp.join(source, 'student.yml'))['Models'][0]['Results'][0]['Dataset']
    write_json(out_dir, 'student.yml', _model_index(osp.join(out_dir, 'student.pth'), dataset))


def _model_index(path: str, dataset: str) -> dict:
    """MMPretrain's model index of one model (JSON is YAML)."""
    path = osp.abspath(path)
    result = dict(Task='Image Classification', Dataset=dataset, Metrics={})
    name = osp.basename(osp.dirname(path))
    return dict(Models=[dict(Name=name, Config='student.py', Weights=path, Results=[result])])


def _read_like_files(model: dict, loader: dict | None) -> None:
    """Lets the student take the channel order of image files also from a data set of arrays."""
    dataset, preprocessor = (
        (loader or {}).get('dataset') or {},
        model.get('data_preprocessor') or {},
    )
    changes = as_image_files(dataset)
    if changes and not preprocessor.get('to_rgb'):
        dataset.update(changes)
        preprocessor['to_rgb'] = True


def _plain(meta: dict) -> dict:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in meta.items()}
