"""A student without its teachers: a checkpoint and a config that MMPretrain loads."""

import copy
import os.path as osp
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config
from torch import nn
from torch.utils.data import Dataset

from mmdynakd.datasets.source import as_image_files
from mmdynakd.files import read_json, whole, write_bytes, write_json, write_text
from mmdynakd.models.classifier import classifier_config

KEPT = ('test_dataloader', 'test_evaluator')  # of the config, so that the student can be tested


def export_student(cfg: Config, student: nn.Module, dataset: Dataset[Any], out_dir: str) -> str:
    """Writes ``student.pth`` (weights), ``student.py`` (config) and ``student.yml`` (index).

    MMPretrain's ``init_model`` and ``ImageClassificationInferencer`` take the first two, as does
    ``mmdynakd test``. MMPretrain's ``inference_model`` knows only indexed models:
    ``ModelHub.register_model_index`` takes the third, in which the student has the name of the
    folder.

    Args:
        cfg: config of the DynaKD run, whose ``model.architecture`` is the student's.
        student: the trained network.
        dataset: whose ``metainfo`` (class names) goes along.
        out_dir: an existing folder.

    Returns:
        The path of the checkpoint.

    Raises:
        OSError: a file cannot be written.

    Examples:
        >>> from mmengine.registry import init_default_scope
        >>> init_default_scope('mmpretrain')
        >>> import os, tempfile
        >>> from mmpretrain.models import ImageClassifier
        >>> backbone = dict(type='mmpretrain.LeNet5', num_classes=10)
        >>> architecture = dict(type='ImageClassifier', backbone=backbone)
        >>> cfg = Config(dict(model=dict(architecture=architecture)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = export_student(cfg, ImageClassifier(backbone), [], folder)
        ...     sorted(os.listdir(folder))
        ['student.pth', 'student.py', 'student.yml']
    """
    write_text(out_dir, 'student.py', _config(cfg).pretty_text)
    path = osp.join(out_dir, 'student.pth')
    weights = {key: value.detach().cpu().clone() for key, value in student.state_dict().items()}
    meta = dict(dataset_meta=_plain(getattr(dataset, 'metainfo', {})))
    with whole(path) as temporary:
        torch.save(dict(meta=meta, state_dict=weights), temporary)
    write_json(out_dir, 'student.yml', _model_index(path, type(dataset).__name__))
    return path


def copy_student(source: str, out_dir: str) -> None:
    """Copies an exported student to another folder, whose name the student has in the index there.

    Args:
        source: folder to which :func:`export_student` wrote.
        out_dir: an existing folder.

    Raises:
        FileNotFoundError: one of the files is missing; nothing is written after it.

    Examples:
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as source, tempfile.TemporaryDirectory() as target:
        ...     for name in ('student.py', 'student.pth'):
        ...         _ = write_bytes(source, name, b'...')
        ...     _ = write_json(source, 'student.yml', _model_index('student.pth', 'Digits'))
        ...     copy_student(source, target)
        ...     sorted(os.listdir(target))
        ['student.pth', 'student.py', 'student.yml']
    """
    for name in ('student.py', 'student.pth'):
        with open(osp.join(source, name), 'rb') as file:
            write_bytes(out_dir, name, file.read())
    dataset = read_json(osp.join(source, 'student.yml'))['Models'][0]['Results'][0]['Dataset']
    write_json(out_dir, 'student.yml', _model_index(osp.join(out_dir, 'student.pth'), dataset))


def _config(cfg: Config) -> Config:
    """The student's config: its model, with preprocessor, and what tests it."""
    model = classifier_config(cfg.model.architecture)
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
    if 'data_preprocessor' not in model and preprocessor is not None:
        model['data_preprocessor'] = copy.deepcopy(preprocessor)
    kept = {key: copy.deepcopy(cfg[key]) for key in KEPT if cfg.get(key) is not None}
    _read_like_files(model, kept.get('test_dataloader'))
    return Config(dict(default_scope='mmpretrain', model=model, test_cfg=dict(), **kept))


def _model_index(path: str, dataset: str) -> dict[str, Any]:
    """MMPretrain's model index of one model (JSON is YAML)."""
    path = osp.abspath(path)
    result = dict(Task='Image Classification', Dataset=dataset, Metrics={})
    name = osp.basename(osp.dirname(path))
    return dict(Models=[dict(Name=name, Config='student.py', Weights=path, Results=[result])])


def _read_like_files(model: dict[str, Any], loader: dict[str, Any] | None) -> None:
    """Lets the student take the channel order of image files also from a data set of arrays."""
    dataset = (loader or {}).get('dataset') or {}
    preprocessor = model.get('data_preprocessor') or {}
    changes = as_image_files(dataset)
    if changes and not preprocessor.get('to_rgb'):
        dataset.update(changes)
        preprocessor['to_rgb'] = True


def _plain(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in meta.items()}
