"""What the processes of test_distributed.py import by ``custom_imports``: a network and a witness."""
import os
import os.path as osp

import torch
from mmengine.config import config
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmpretrain.registry import MODELS
from torch import nn

if 'RANK' in os.environ:  # MMEngine lays out each config it writes, which takes longer than these runs
    config.FormatCode = lambda text, **_: (text, True)


@MODELS.register_module()
class SmoothConv(nn.Module):
    """Smooth and without batch norm, so that the halves of a batch give its gradient as their mean."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), nn.Tanh(),
                                  nn.Conv2d(channels, channels, 3, stride=2, padding=1), nn.Tanh())

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.body(x), )


@HOOKS.register_module()
class RankWitness(Hook):
    """Saves each process's own weights and images' numbers to ``rank{r}.pth`` of the stage's work dir."""

    def __init__(self) -> None:
        self.ids: list[list[int]] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.ids.append([sample.sample_idx for sample in data_batch['data_samples']])

    def after_train(self, runner) -> None:
        model = getattr(runner.model, 'module', runner.model)
        path = osp.join(runner.work_dir, f'rank{get_rank()}.pth')
        torch.save(dict(state_dict=model.state_dict(), ids=self.ids), path)
