"""A teacher by itself, outside a config."""

import os
from collections.abc import Mapping

from mmengine.registry import DefaultScope
from torch import nn

from .ensemble import TeacherEnsemble


def load_teacher(
    model: Mapping | nn.Module,
    checkpoint: str | os.PathLike | None = None,
    *,
    part: str | None = None,
    name: str = 'teacher',
) -> nn.Module:
    """Build a classifier and load a checkpoint of any layout that training accepts.

    .. code-block:: python

        teacher = mmdynakd.load_teacher(
            dict(type='ImageClassifier', backbone=dict(type='mmdynakd.CifarResNet', depth=56),
                 neck=dict(type='GlobalAveragePooling'),
                 head=dict(type='LinearClsHead', num_classes=100, in_channels=64)), 'resnet56.pt')
        logits = teacher(images)                       # images normalised by yourself
        logits = teacher(teacher.data_preprocessor(dict(inputs=raw))['inputs'])   # or by it

    The way is that of ``model.teachers`` in a config: what loads here loads there, and the layout
    is said in the log.

    Args:
        model: Config of a MMPretrain classifier (``dict(cfg_path='mmpretrain::…')`` too), a module,
            or an entry of ``model.teachers`` and of ``configs/_base_/teachers``: ``dict(model=…,
            checkpoint=…)``.
        checkpoint: A path or an https URL; None if the entry names it or the model brings its own
            weights.
        part: Which network of a file that holds several: ``'student'``, ``'teacher'``, the name of
            a lane, or ``'ema_state_dict'``.
        name: The teacher's name, for messages.

    Returns:
        The model in eval mode, its parameters without gradient; ``.requires_grad_(True).train()``
        undoes it.

    Raises:
        TypeError: ``model`` is neither a config nor a module.
        ValueError: an entry of another shape, or ``part`` without a checkpoint.
        CheckpointError: the checkpoint is missing, damaged, of another architecture, or holds
            several networks and ``part`` is None; the message lists what it holds.
    """
    if not isinstance(model, (Mapping, nn.Module)):
        raise TypeError(
            'model must be the config of a classifier, an entry dict(model=…, checkpoint=…) or a '
            'module, '
            f'got {model!r}; an entry of a config file: Config.fromfile(FILE).NAME'
        )
    entry = (
        dict(model)
        if isinstance(model, Mapping) and 'model' in model and 'type' not in model
        else dict(model=model)
    )
    if checkpoint is not None:
        entry['checkpoint'] = str(checkpoint)
    if part is not None:
        entry['checkpoint'] = _with_part(entry.get('checkpoint'), part)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        network = TeacherEnsemble({name: entry}).networks[name]
    del network.train  # an ensemble pins its teachers to eval mode; this one is the caller's
    return network


def _with_part(checkpoint: str | Mapping | None, part: str) -> dict:
    if not checkpoint:
        raise ValueError(
            f'part={part!r} chooses among the networks of a checkpoint: give checkpoint'
        )
    path = checkpoint['path'] if isinstance(checkpoint, Mapping) else checkpoint
    return dict(path=path, part=part)
