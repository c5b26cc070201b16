"""Training loops that fetch a validation batch for the upper step and a training batch for the
lower one.
"""

from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmdynakd.entries import expand_schedulers
from mmdynakd.models.unwrap import algorithm_of
from mmdynakd.registry import LOOPS

from .batches import CyclingBatches, check_lengths
from .epochs import RepeatableTrainLoop
from .faults import FaultReport
from .probe import probe_teachers
from .upper import CACHE_MB, UpperSteps


def prepare(runner: Runner, dataloader: DataLoader) -> None:
    """Checks that the run can be repeated, and gives each lane the schedulers of its kind.

    Raises:
        ValueError: without a seed, or with one that differs from rank to rank; for unequal numbers
            of batches.
    """
    randomness = runner._randomness_cfg
    if randomness.get('seed') is None or randomness.get('diff_rank_seed'):
        raise ValueError(
            'set randomness=dict(seed=…), without diff_rank_seed: ranks and resumed runs draw the '
            'same '
            f'teachers; got {dict(randomness)}'
        )
    check_lengths(dataloader, 'train_dataloader')
    runner.param_schedulers = expand_schedulers(runner.param_schedulers, algorithm_of(runner))


def start(runner: Runner, iteration: int) -> None:
    """Gives the draws the run's seed and position, both known once a checkpoint is loaded; looks at
    the teachers.
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
    """DynaKD by epoch: the training loader defines the epoch, the validation loader cycles,
    reshuffled.

    Args:
        upper_dataloader: loader (or config) of the split on which θ is learned; needed where a lane
            searches.
        upper_cache_mb: MiB of the teachers' records of that split that may be kept, see
            :class:`UpperSteps`; 0: none.
        Others: as :class:`RepeatableTrainLoop`.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader,
        max_epochs: int,
        upper_dataloader=None,
        upper_cache_mb: int = CACHE_MB,
        **kwargs,
    ) -> None:
        super().__init__(runner, dataloader, max_epochs, **kwargs)
        prepare(runner, self.dataloader)
        self.upper = UpperSteps(runner, upper_dataloader, upper_cache_mb)
        self.faults = FaultReport(runner)

    def run(self) -> nn.Module:
        start(self.runner, self._iter)
        return super().run()

    def run_iter(self, idx: int, data_batch: dict) -> None:
        self.faults.report(self.upper.run(self._iter, data_batch), self._iter + 1)
        super().run_iter(idx, data_batch)
        self.faults.report(data_batch, self._iter)


@LOOPS.register_module()
class BilevelIterTrainLoop(IterBasedTrainLoop):
    """DynaKD by iteration; arguments as MMEngine's ``IterBasedTrainLoop``, plus those of
    :class:`BilevelTrainLoop`.

    Each training batch is loaded from generators seeded by (seed, iteration).
    """

    def __init__(
        self,
        runner: Runner,
        dataloader,
        max_iters: int,
        upper_dataloader=None,
        upper_cache_mb: int = CACHE_MB,
        **kwargs,
    ) -> None:
        super().__init__(runner, dataloader, max_iters, **kwargs)
        self.dataloader_iterator = CyclingBatches(self.dataloader, seed=runner.seed, per_batch=True)
        prepare(runner, self.dataloader)
        self.upper = UpperSteps(runner, upper_dataloader, upper_cache_mb)
        self.faults = FaultReport(runner)

    def run(self) -> nn.Module:
        """MMEngine's, but a resumed run loads no batch of the rounds that are over."""
        start(self.runner, self._iter)
        runner = self.runner
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
        self.dataloader_iterator.seek(self._iter)
        while self._iter < self._max_iters and not self.stop_training:
            runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._decide_current_val_interval()
            if (
                runner.val_loop is not None
                and self._iter >= self.val_begin
                and (self._iter % self.val_interval == 0 or self._iter == self._max_iters)
            ):
                runner.val_loop.run()
        runner.call_hook('after_train_epoch')
        runner.call_hook('after_train')
        return runner.model

    def run_iter(self, data_batch: dict) -> None:
        self.faults.report(self.upper.run(self._iter, data_batch), self._iter + 1)
        super().run_iter(data_batch)
        self.faults.report(data_batch, self._iter)
