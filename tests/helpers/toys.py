"""Tiny students, teachers, configs and batches that the tests share."""

import copy
from dataclasses import dataclass

import torch
from mmengine.model import BaseModule
from mmpretrain.structures import DataSample
from torch import nn

import mmdynakd.models  # noqa: F401
from mmdynakd.engine.optim import BilevelOptimWrapper, BilevelOptimWrapperConstructor
from mmdynakd.functional import Draws
from mmdynakd.models.algorithms.batch import Batch, labels_of
from mmdynakd.registry import MODELS

PREPROCESSOR = dict(
    type='mmpretrain.ClsDataPreprocessor', mean=[120.0, 115.0, 105.0], std=[60.0, 62.0, 65.0]
)
SOURCE = 'head.fc'


@MODELS.register_module(force=True)
class ToyConv(BaseModule):
    """Two convolutions without batch norm: (B, 3, H, W) to ((B, channels, H/2, W/2),)."""

    def __init__(
        self, channels: int = 4, dropout: float = 0.0, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        self.conv1 = nn.Conv2d(3, channels, 3, stride=2, padding=1)
        self.drop = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.conv2(self.drop(torch.relu(self.conv1(x)))),)


def student_cfg(
    classes: int = 5, backbone: str = 'conv', channels: int = 4, dropout: float = 0.0
) -> dict:
    """A MMPretrain classifier; ``backbone`` is ``'conv'`` or ``'resnet'`` (CifarResNet-8)."""
    if backbone == 'resnet':
        body, width = dict(type='mmdynakd.CifarResNet', depth=8), 64
    else:
        body, width = dict(type='mmdynakd.ToyConv', channels=channels, dropout=dropout), channels
    head = dict(
        type='mmpretrain.LinearClsHead',
        num_classes=classes,
        in_channels=width,
        loss=dict(type='mmpretrain.CrossEntropyLoss', loss_weight=1.0),
        topk=(1,),
    )
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=body,
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=head,
    )


def teacher_cfg(
    classes: int = 5,
    backbone: str = 'conv',
    channels: int = 6,
    dropout: float = 0.0,
    data_preprocessor: dict | None = None,
) -> dict:
    """An entry of ``teachers`` without a checkpoint: the global generator gives its weights."""
    model = student_cfg(classes, backbone, channels, dropout)
    if data_preprocessor is not None:
        model['data_preprocessor'] = data_preprocessor
    return dict(model=model)


def kd_distiller_cfg(tau: float = 4.0, loss_weight: float = 0.9, **loss) -> dict:
    """Hinton's distillation of the logits; ``loss``: more settings of MMRazor's KLDivergence."""
    kl = dict(type='KLDivergence', tau=tau, loss_weight=loss_weight, teacher_detach=False)
    recorders = dict(logits=dict(type='ModuleOutputs', source=SOURCE))
    return dict(
        type='ConfigurableDistiller',
        student_recorders=recorders,
        teacher_recorders=copy.deepcopy(recorders),
        distill_losses=dict(loss_kl={**kl, **loss}),
        loss_forward_mappings=dict(
            loss_kl=dict(
                preds_S=dict(from_student=True, recorder='logits'),
                preds_T=dict(from_student=False, recorder='logits'),
            )
        ),
    )


def dynakd_cfg(
    teachers: dict | int = 3,
    student: dict | None = None,
    distiller: dict | None = None,
    classes: int = 5,
    **options,
) -> dict:
    """The whole model config; ``teachers`` is a number (t0, t1, …) or ``{name: entry}``."""
    if isinstance(teachers, int):
        teachers = {f't{i}': teacher_cfg(classes, channels=6 + i) for i in range(teachers)}
    cfg = dict(
        type='mmdynakd.DynaKD',
        architecture=student or student_cfg(classes),
        teachers=teachers,
        distiller=distiller or kd_distiller_cfg(),
        student_loss_weight=0.1,
        draw_seed=0,
        data_preprocessor=PREPROCESSOR,
    )
    return copy.deepcopy({**cfg, **options})


def made_batch(n: int = 6, classes: int = 5, size: int = 8, seed: int = 0) -> dict:
    """What a loader's collate gives: (3, size, size) uint8 images, and data samples with labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 3, size, size), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, classes, (n,), generator=generator).tolist()
    return dict(
        inputs=list(images), data_samples=[DataSample().set_gt_label(label) for label in labels]
    )


def built(cfg: dict, seed: int = 0) -> nn.Module:
    """The module that ``cfg`` describes, every weight a function of ``seed``, in train mode."""
    torch.manual_seed(seed)
    return MODELS.build(copy.deepcopy(cfg)).train()


def bilevel(
    model: nn.Module,
    lr: float = 0.05,
    theta: dict | None = None,
    timing: dict | None = None,
    **student,
) -> BilevelOptimWrapper:
    """Optim wrapper of a DynaKD: SGD for the students, ``student`` more settings of their entry."""
    cfg = dict(
        student=dict(optimizer=dict(type='SGD', lr=lr, momentum=0.9), **student), **(timing or {})
    )
    if theta is not None:
        cfg['theta'] = theta
    return BilevelOptimWrapperConstructor(copy.deepcopy(cfg))(model)


def prepared(model: nn.Module, batch: dict) -> tuple[torch.Tensor, list]:
    """Raw inputs and data samples as ``DynaKD.loss`` takes them."""
    data = model.data_preprocessor(copy.deepcopy(batch), training=True)
    return data['inputs'], data['data_samples']


def upper_batch(model: nn.Module, batch: dict) -> Batch:
    """What a lane sees in an upper step: all teachers ran."""
    inputs, samples = prepared(model, batch)
    return Batch(
        model._student_inputs(inputs),
        samples,
        labels_of(samples, inputs.device),
        model.ensemble.run(model.ensemble.names, inputs),
        Draws(model.draw_seed or 0, model.step),
    )


@dataclass(frozen=True)
class At(Draws):
    """Draws whose u_t is given."""

    u: float = 0.0

    def uniform(self) -> float:
        return self.u


def at(u: float) -> At:
    return At(0, 0, u=u)


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers, copied."""
    return {key: value.detach().clone() for key, value in module.state_dict().items()}


def differing(first: dict, second: dict) -> list[str]:
    """Keys whose tensors are not bit for bit equal."""
    return [
        key
        for key in sorted(first.keys() | second.keys())
        if key not in first or key not in second or not torch.equal(first[key], second[key])
    ]
