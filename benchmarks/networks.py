"""Students, teachers and batches: the 6n+2 family at CIFAR's size, with random weights.

Weights do not change what a step costs.
"""

import copy
from collections.abc import Iterable, Mapping

import torch
from mmpretrain.structures import DataSample

import mmdynakd  # noqa: F401
from mmdynakd.engine.optim import BilevelOptimWrapperConstructor
from mmdynakd.functional import invert_cdf, uniform
from mmdynakd.registry import MODELS

CLASSES = 100
MEAN, STD = [129.304, 124.070, 112.434], [68.170, 65.392, 70.418]
PREPROCESSOR = dict(type='mmpretrain.ClsDataPreprocessor', mean=MEAN, std=STD)
SGD = dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4)
TAU, KD_WEIGHT = 4, 0.9


def network(depth: int) -> dict:
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='mmdynakd.CifarResNet', depth=depth),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=CLASSES, in_channels=64),
    )


def distiller(scope: str = '') -> dict:
    """Configure Hinton's distillation of the logits.

    Every name is within ``scope`` (``'mmrazor.'`` outside a DynaKD).
    """
    recorders = dict(logits=dict(type=f'{scope}ModuleOutputs', source='head.fc'))
    return dict(
        type=f'{scope}ConfigurableDistiller',
        student_recorders=recorders,
        teacher_recorders=copy.deepcopy(recorders),
        distill_losses=dict(
            loss_kl=dict(
                type=f'{scope}KLDivergence', tau=TAU, loss_weight=KD_WEIGHT, teacher_detach=False
            )
        ),
        loss_forward_mappings=dict(
            loss_kl=dict(
                preds_S=dict(from_student=True, recorder='logits'),
                preds_T=dict(from_student=False, recorder='logits'),
            )
        ),
    )


def dynakd(teachers: Iterable[int] | Mapping[str, dict], depth: int, **options) -> dict:
    """Configure a DynaKD.

    Teachers are given by depth (and named r56, …) or as DynaKD takes them; the student by depth.
    """
    if not isinstance(teachers, Mapping):
        teachers = {f'r{depth}': dict(model=network(depth)) for depth in teachers}
    return dict(
        type='mmdynakd.DynaKD',
        architecture=network(depth),
        distiller=distiller(),
        teachers=teachers,
        student_loss_weight=1.0,
        draw_seed=0,
        data_preprocessor=dict(PREPROCESSOR),
        **options,
    )


def built(cfg: dict, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = MODELS.build(copy.deepcopy(cfg))
    model.init_weights()
    return model.train()


class Steps:
    """A DynaKD with its optimizers, stepped by hand."""

    def __init__(self, cfg: dict, device: str) -> None:
        self.model = built(cfg).to(device)
        self.optim = BilevelOptimWrapperConstructor(dict(student=dict(optimizer=dict(SGD))))(
            self.model
        )

    def lower(self, data: dict) -> dict[str, torch.Tensor]:
        """Take one step of the students; return the log variables."""
        return self.model.train_step(data, self.optim)

    def upper(self, data: dict, train_data: dict) -> dict[str, torch.Tensor]:
        return self.model.upper_step(data, self.optim, train_data)


def batch(size: int, seed: int) -> dict:
    """Make what a loader gives: a list of (3, 32, 32) uint8 images; data samples with labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (size, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (size,), generator=generator).tolist()
    return dict(
        inputs=list(images), data_samples=[DataSample().set_gt_label(label) for label in labels]
    )


def drawn(probs: list[float], step: int, seed: int = 0) -> int:
    """Index of the teacher that a lane with distribution ``probs`` draws in a step."""
    return invert_cdf(probs, uniform(seed, step))
