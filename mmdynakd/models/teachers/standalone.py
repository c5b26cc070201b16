"""A teacher on its own, without a config file."""

import os
from collections.abc import Mapping
from typing import Any

from mmengine.registry import DefaultScope
from torch import nn

from .ensemble import TeacherEnsemble


def load_teacher(
    model: Mapping[str, Any] | nn.Module,
    checkpoint: str | os.PathLike[str] | None = None,
    *,
    part: str | None = None,
    name: str = 'teacher',
) -> nn.Module:
    """Build a classifier and load a checkpoint of any layout that training accepts.

    This is how ``model.teachers`` of a config are loaded too: what loads here loads there. The log
    says which layout was found.

    Args:
        model: Config of a classifier of MMPretrain (also ``dict(cfg_path='mmpretrain::…')``), a
            module, or an entry of ``model.teachers`` or ``configs/_base_/teachers``:
            ``dict(model=…, checkpoint=…)``.
        checkpoint: A path or an https URL. None if the entry names it, or if the model has its own
            weights.
        part: Which network to take from a file that holds several: ``'student'``, ``'teacher'``,
            the name of a lane, or ``'ema_state_dict'``.
        name: The teacher's name, for messages.

    Returns:
        The model in eval mode, with parameters that need no gradient.
        ``.requires_grad_(True).train()`` undoes both.

    Raises:
        TypeError: If ``model`` is neither a config nor a module.
        ValueError: If the entry has another form, or ``part`` is given without a checkpoint.
        CheckpointError: If the checkpoint is missing, damaged or of another architecture, or holds
            several networks and ``part`` is None. The message lists what it holds.

    Examples:
        >>> import tempfile, torch
        >>> cfg = dict(
        ...     type='ImageClassifier',
        ...     backbone=dict(type='mmdynakd.CifarResNet', depth=8),
        ...     neck=dict(type='GlobalAveragePooling'),
        ...     head=dict(type='LinearClsHead', num_classes=100, in_channels=64),
        ...     data_preprocessor=dict(mean=[127.5] * 3, std=[64.0] * 3),
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(load_teacher(cfg).state_dict(), f'{folder}/resnet8.pth')
        ...     teacher = load_teacher(cfg, f'{folder}/resnet8.pth')
        >>> raw = torch.randint(0, 256, (2, 3, 32, 32))
        >>> images = teacher.data_preprocessor(dict(inputs=raw))['inputs']  # or normalize yourself
        >>> tuple(teacher(images).shape)
        (2, 100)
    """
    if not isinstance(model, (Mapping, nn.Module)):
        raise TypeError(
            'model must be the config of a classifier, an entry dict(model=…, checkpoint=…) or a '
            f'module, got {model!r}; an entry of a config file is Config.fromfile(FILE).NAME'
        )
    entry: dict[str, Any] = dict(model=model)
    if isinstance(model, Mapping) and 'model' in model and 'type' not in model:
        entry = dict(model)
    if checkpoint is not None:
        entry['checkpoint'] = str(checkpoint)
    if part is not None:
        entry['checkpoint'] = _with_part(entry.get('checkpoint'), part)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        network: nn.Module = TeacherEnsemble({name: entry}).networks[name]
    del network.train  # an ensemble pins its teachers to eval mode; this one belongs to the caller
    return network


def _with_part(checkpoint: str | Mapping[str, Any] | None, part: str) -> dict[str, Any]:
    if not checkpoint:
        raise ValueError(
            f'part={part!r} chooses among the networks of a checkpoint: give checkpoint too'
        )
    path = checkpoint['path'] if isinstance(checkpoint, Mapping) else checkpoint
    return dict(path=path, part=part)
