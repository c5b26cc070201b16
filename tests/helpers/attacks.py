"""Checkpoints that would run code, and an honest Runner's."""

import os

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn


class Canary:
    """Makes a folder when it is unpickled freely."""

    def __init__(self, place) -> None:
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


class Calls:
    """Pickles as a call of ``function(*args)``."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, inputs, labels, mode='tensor'):
        return dict(loss=nn.functional.cross_entropy(self.fc(inputs), labels))


def train(work_dir, epochs, name, **kwargs):
    data = [dict(inputs=torch.full((3,), float(i)), labels=torch.tensor(i % 2)) for i in range(8)]
    loader = torch.utils.data.DataLoader(data, batch_size=4, sampler=DefaultSampler(data))
    runner = Runner(
        Toy(),
        str(work_dir),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.01)),
        param_scheduler=[
            dict(type='MultiStepLR', milestones=[1]),
            dict(type='CosineAnnealingLR', T_max=4),
        ],
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        custom_hooks=[dict(type='EMAHook')],
        randomness=dict(seed=0),
        log_level='ERROR',
        experiment_name=f'{work_dir.name}-{name}',
        **kwargs,
    )
    runner.train()
    return runner


ATTACKS = {
    'exec': lambda mark: Calls(exec, f'open({str(mark)!r}, "w")'),
    'method': lambda mark: Calls(mark.touch),
    'other attribute': lambda mark: Calls(getattr, HistoryBuffer, '__init__'),
    'other owner': lambda mark: Calls(getattr, 'text', 'upper'),
    'array of objects': lambda mark: np.array([Calls(mark.touch)], dtype=object),
}
