"""What runs with injected faults import: spoiled images and a spoiled teacher."""

import numpy as np
import torch
from dist_parts import RankWitness, SmoothConv  # noqa: F401  for the processes of a distributed run
from mmcv.transforms import BaseTransform
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmpretrain.registry import TRANSFORMS
from runs import search_config

BAD = 17  # sample_idx of the spoiled training image


@TRANSFORMS.register_module()
class Spoil(BaseTransform):
    """Pixels as floats; those of the samples in ``indices`` hold a NaN."""

    def __init__(self, indices: list[int] = ()) -> None:
        self.indices = set(indices)

    def transform(self, results: dict) -> dict:
        results['img'] = results['img'].astype(np.float32)
        if results['sample_idx'] in self.indices:
            results['img'][0, 0] = np.nan
        return results


@HOOKS.register_module()
class SpoilTeacher(Hook):
    """From iteration ``at`` (from 0) on, a teacher's weights are NaN."""

    def __init__(self, name: str, at: int) -> None:
        self.name, self.at = name, at

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.at:
            with torch.no_grad():
                next(runner.model.ensemble.networks[self.name].parameters()).fill_(float('nan'))


def search(work, train=(), upper=(), evaluate=False, **options):
    """A search whose student has BatchNorm; images are floats, those given hold a NaN."""
    cfg = search_config(work, **options)
    for loader, spoiled in (
        (cfg.train_dataloader, train),
        (cfg.train_cfg.upper_dataloader, upper),
        (cfg.val_dataloader, ()),
        (cfg.test_dataloader, ()),
    ):
        loader.dataset.pipeline = [
            dict(type='Spoil', indices=list(spoiled)),
            dict(type='PackInputs'),
        ]
    cfg.custom_hooks[0].pop('baselines')
    cfg.custom_hooks[0].update(single_teachers=False)
    cfg.custom_hooks = cfg.custom_hooks if evaluate else []
    return cfg
