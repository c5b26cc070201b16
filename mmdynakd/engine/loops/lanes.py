"""Validation and test with one evaluator a lane, over one pass of the loader."""

import copy
from typing import Any

import torch
from mmengine.runner import TestLoop, ValLoop
from mmengine.runner.amp import autocast
from mmengine.runner.base_loop import BaseLoop

from mmdynakd.models.unwrap import algorithm_of
from mmdynakd.registry import LOOPS

from .batches import Round


class _LaneEvaluation(BaseLoop):
    """What validation and test share.

    Attributes:
        lane_metrics: metrics of the last pass by lane.
    """

    mode: str
    evaluator: Any
    fp16: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Metrics hold no state between passes, and the data set's meta is set: a copy serves.
        self.evaluators = {
            name: copy.deepcopy(self.evaluator) for name in algorithm_of(self.runner).lanes
        }
        self.lane_metrics: dict[str, dict[str, float]] = {}

    def run(self) -> dict[str, float]:
        """Evaluate every lane; returns the metrics ``lane/metric``."""
        runner, mode = self.runner, self.mode
        runner.call_hook(f'before_{mode}')
        runner.call_hook(f'before_{mode}_epoch')
        runner.model.eval()
        for idx, data_batch in enumerate(Round(self.dataloader, runner.seed, 0)):
            self.run_iter(idx, data_batch)
        size = len(self.dataloader.dataset)
        self.lane_metrics = {
            name: evaluator.evaluate(size) for name, evaluator in self.evaluators.items()
        }
        metrics = {
            f'{name}/{key}': value
            for name, own in self.lane_metrics.items()
            for key, value in own.items()
        }
        runner.call_hook(f'after_{mode}_epoch', metrics=metrics)
        runner.call_hook(f'after_{mode}')
        return metrics

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: dict[str, Any]) -> None:
        """Show one batch to every lane's student and evaluator."""
        runner, mode = self.runner, self.mode
        runner.call_hook(f'before_{mode}_iter', batch_idx=idx, data_batch=data_batch)
        with autocast(enabled=self.fp16):
            outputs = algorithm_of(runner).predict_lanes(data_batch)
        for name, evaluator in self.evaluators.items():
            evaluator.process(data_samples=outputs[name], data_batch=data_batch)
        first = next(iter(outputs.values()))  # stock hooks expect one model's samples
        runner.call_hook(f'after_{mode}_iter', batch_idx=idx, data_batch=data_batch, outputs=first)


@LOOPS.register_module()
class LaneValLoop(_LaneEvaluation, ValLoop):
    """MMEngine's ``ValLoop`` for the lanes of a DynaKD; arguments as of that.

    Examples:
        In a config: ``val_cfg=dict(type='mmdynakd.LaneValLoop')``.

        >>> LaneValLoop.mode
        'val'
    """

    mode = 'val'


@LOOPS.register_module()
class LaneTestLoop(_LaneEvaluation, TestLoop):
    """MMEngine's ``TestLoop`` for the lanes of a DynaKD; arguments as of that.

    Examples:
        In a config: ``test_cfg=dict(type='mmdynakd.LaneTestLoop')``.

        >>> LaneTestLoop.mode
        'test'
    """

    mode = 'test'
