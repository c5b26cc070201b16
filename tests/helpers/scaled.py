"""What stands for AMP's optim wrapper on any machine."""

import torch
from mmengine.optim import OptimWrapper
from torch import nn


def parameter(*values):
    return nn.Parameter(torch.tensor(values or (1.0,)))


class Scaler:
    """Stands for AMP's GradScaler, of a scale of its own an entry."""

    def __init__(self, scale):
        self.factor = scale

    def scale(self, loss):
        return loss * self.factor


class ScaledOptimWrapper(OptimWrapper):
    """Unscales before it steps, as ``AmpOptimWrapper`` does."""

    def __init__(self, *args, scale, **kwargs):
        super().__init__(*args, **kwargs)
        self.loss_scaler = Scaler(scale)

    def step(self, **kwargs):
        for group in self.optimizer.param_groups:
            for p in group['params']:
                p.grad /= self.loss_scaler.factor
        super().step(**kwargs)
