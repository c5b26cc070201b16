"""A tiny classifier, batch and algorithm, for the examples in docstrings and for trying things."""

from typing import TYPE_CHECKING, Any

import torch
from mmpretrain.structures import DataSample

from mmdynakd.registry import MODELS

if TYPE_CHECKING:
    from .algorithms import DynaKD

CLASSES = 3


def toy_classifier() -> dict[str, Any]:
    """Return the config of a small MMPretrain classifier of three classes.

    Examples:
        >>> toy_classifier()['head']['num_classes']
        3
    """
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='mmdynakd.CifarResNet', depth=8),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=CLASSES, in_channels=64),
    )


def toy_distiller() -> dict[str, Any]:
    """Return the config of Hinton's distillation: the KL divergence of the logits.

    Examples:
        >>> list(toy_distiller()['distill_losses'])
        ['loss_kl']
    """
    logits = dict(type='ModuleOutputs', source='head.fc')
    return dict(
        student_recorders=dict(logits=logits),
        teacher_recorders=dict(logits=logits),
        distill_losses=dict(loss_kl=dict(type='KLDivergence', tau=4, teacher_detach=False)),
        loss_forward_mappings=dict(
            loss_kl=dict(
                preds_S=dict(from_student=True, recorder='logits'),
                preds_T=dict(from_student=False, recorder='logits'),
            )
        ),
    )


def toy_batch(samples: int = 4) -> dict[str, Any]:
    """Return a batch as a data loader gives it: grey 8 × 8 images of three classes.

    Args:
        samples: B.

    Examples:
        >>> batch = toy_batch(2)
        >>> batch['inputs'][0].shape, batch['data_samples'][1].gt_label
        (torch.Size([3, 8, 8]), tensor([1]))
    """
    return dict(
        inputs=[torch.full((3, 8, 8), 100, dtype=torch.uint8) for _ in range(samples)],
        data_samples=[DataSample().set_gt_label(i % CLASSES) for i in range(samples)],
    )


def toy_dynakd(**settings: Any) -> 'DynaKD':
    """Build a DynaKD with two random teachers, ``strong`` and ``weak``.

    Args:
        **settings: Arguments of :class:`~mmdynakd.models.DynaKD`, over those of this example.

    Examples:
        >>> model = toy_dynakd(lanes=dict(ce=dict(selection=None), kd=dict(selection={})))
        >>> list(model.lanes), list(model.searched)
        (['ce', 'kd'], ['kd'])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        teachers = {name: dict(model=MODELS.build(toy_classifier())) for name in ('strong', 'weak')}
        own = dict(architecture=toy_classifier(), teachers=teachers, distiller=toy_distiller())
        model: DynaKD = MODELS.build({'type': 'mmdynakd.DynaKD', **own, **settings})
    return model
