"""What runs with injected faults import: images that are spoiled, and what makes a step never have
happened.
"""

import numpy as np
import torch
from dist_parts import RankWitness, SmoothConv  # noqa: F401  for the processes of a distributed run
from mmcv.transforms import BaseTransform
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmpretrain.registry import TRANSFORMS


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
