"""Training loops that also fetch validation batches, for the upper steps."""

from collections.abc import Mapping
from typing import Any

from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmdynakd.compat.mmengine_internals import choose_val_interval, randomness_of
from mmdynakd.entries import expand_schedulers
from mmdynakd.models.unwrap import algorithm_of
from mmdynakd.registry import LOOPS

from .batches import CyclingBatches, check_lengths
from .epochs import RepeatableTrainLoop
from .faults import FaultReport
from .probe import probe_teachers
from .upper import CACHE_MB, UpperSteps

Loader = DataLoader[Any] | Mapping[str, Any]
"""A data loader, or the config of one."""


def prepare(runner: Runner, dataloader: DataLoader[Any]) -> None:
    """Check that a run can be repeated, and give each lane the schedulers of its kind.

    Args:
        runner: of the run; its ``param_schedulers`` are set.
        dataloader: of the training split.

    Raises:
        ValueError: there is no seed, or one that differs from rank to rank; or the ranks have
            different numbers of batches.

    Examples:
        The loops below call it before anything else: ``prepare(runner, self.dataloader)``.
    """
    randomness = randomness_of(runner)
    if randomness.get('seed') is None or randomness.get('diff_rank_seed'):
        raise ValueError(
            'set randomness=dict(seed=…), without diff_rank_seed: ranks and resumed runs draw the '
            f'same teachers; got {dict(randomness)}'
        )
    check_lengths(dataloader, 'train_dataloader')
    runner.param_schedulers = expand_schedulers(runner.param_schedulers, algorithm_of(runner))


def start(runner: Runner, iteration: int) -> None:
    """Give the draws the run's seed and position, and look at the teachers.

    Both are known once a checkpoint is loaded, so only then can this be done.

    Args:
        runner: of the run.
        iteration: lower steps that are done.

    Examples:
        The loops below call it as they begin to run: ``start(self.runner, self.iter)``.
    """
    algorithm = algorithm_of(runner)
    if algorithm.draw_seed is None:
        algorithm.draw_seed = runner.seed
    algorithm.step = iteration
    if algorithm.ensemble.store is not None:
        algorithm.ensemble.store.epochs = -(-runner.max_iters // len(runner.train_dataloader))
    probe_teachers(algorithm, runner.train_dataloader)


@LOOPS.register_module()
class BilevelTrainLoop(RepeatableTrainLoop):
    """DynaKD by epoch: the training loader defines the epoch, the validation loader cycles.

    Args:
        runner: of the run.
        dataloader: loader (or config) of the training split.
        max_epochs: passes over the training split.
        upper_dataloader: loader (or config) of the split on which θ is learned, reshuffled each
            time round; needed where a lane searches.
        upper_cache_mb: MiB of the teachers' records of that split that may be kept, see
            :class:`UpperSteps`; 0 keeps none.
        kwargs: as of :class:`RepeatableTrainLoop`.

    Examples:
        In a config: ``train_cfg=dict(type='mmdynakd.BilevelTrainLoop', max_epochs=2,
        upper_dataloader=dict(…))``.

        >>> LOOPS.get('BilevelTrainLoop').__name__
        'BilevelTrainLoop'
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: Loader,
        max_epochs: int,
        upper_dataloader: Loader | None = None,
        upper_cache_mb: int = CACHE_MB,
        **kwargs: Any,
    ) -> None:
        super().__init__(runner, dataloader, max_epochs, **kwargs)
        prepare(runner, self.dataloader)
        self.upper = UpperSteps(runner, upper_dataloader, upper_cache_mb)
        self.faults = FaultReport(runner)

    def run(self) -> nn.Module:
        """Train; returns the trained model."""
        start(self.runner, self.iter)
        model: nn.Module = super().run()
        return model

    def run_iter(self, idx: int, data_batch: dict[str, Any]) -> None:
        """An upper step, if one is due, then a lower step on a training batch."""
        self.faults.report(self.upper.run(self.iter, data_batch), self.iter + 1)
        super().run_iter(idx, data_batch)
        self.faults.report(data_batch, self.iter)


@LOOPS.register_module()
class BilevelIterTrainLoop(IterBasedTrainLoop):
    """DynaKD by iteration; each training batch is loaded from generators seeded by (seed, step).

    Args:
        runner: of the run.
        dataloader: loader (or config) of the training split.
        max_iters: lower steps.
        upper_dataloader: as of :class:`BilevelTrainLoop`.
        upper_cache_mb: likewise.
        kwargs: as of MMEngine's ``IterBasedTrainLoop``.

    Examples:
        In a config: ``train_cfg=dict(type='mmdynakd.BilevelIterTrainLoop', max_iters=1000,
        upper_dataloader=dict(…))``.

        >>> LOOPS.get('BilevelIterTrainLoop').__name__
        'BilevelIterTrainLoop'
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: Loader,
        max_iters: int,
        upper_dataloader: Loader | None = None,
        upper_cache_mb: int = CACHE_MB,
        **kwargs: Any,
    ) -> None:
        super().__init__(runner, dataloader, max_iters, **kwargs)
        self.dataloader_iterator = CyclingBatches(self.dataloader, seed=runner.seed, per_batch=True)
        prepare(runner, self.dataloader)
        self.upper = UpperSteps(runner, upper_dataloader, upper_cache_mb)
        self.faults = FaultReport(runner)

    def run(self) -> nn.Module:
        """Train as MMEngine does, but a resumed run loads no batch of the rounds that are over."""
        start(self.runner, self.iter)
        runner = self.runner
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
        self.dataloader_iterator.seek(self.iter)
        while self.iter < self.max_iters and not self.stop_training:
            runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            choose_val_interval(self)
            if (
                runner.val_loop is not None
                and self.iter >= self.val_begin
                and (self.iter % self.val_interval == 0 or self.iter == self.max_iters)
            ):
                runner.val_loop.run()
        runner.call_hook('after_train_epoch')
        runner.call_hook('after_train')
        model: nn.Module = runner.model
        return model

    def run_iter(self, data_batch: dict[str, Any]) -> None:
        """An upper step, if one is due, then a lower step on a training batch."""
        self.faults.report(self.upper.run(self.iter, data_batch), self.iter + 1)
        super().run_iter(data_batch)
        self.faults.report(data_batch, self.iter)
