"""Training loops that fetch a validation batch for the upper step and a training batch for the lower one."""
import copy
from collections.abc import Mapping

from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmdynakd.engine.optim import THETA
from mmdynakd.engine.unwrap import algorithm_of
from mmdynakd.registry import LOOPS

from .batches import CyclingBatches, seed_everything


class UpperSteps:
    """The upper half of a bilevel loop; without a searched lane it does nothing.

    Raises:
        ValueError: if θ is searched without a validation split, or with an empty one.
    """

    def __init__(self, runner: Runner, dataloader: DataLoader | Mapping | None) -> None:
        self.runner, self._batches = runner, None
        self.searched = list(algorithm_of(runner).searched)
        if not self.searched:
            return
        if dataloader is None:
            raise ValueError('θ is searched on a validation split: set train_cfg.upper_dataloader')
        if isinstance(dataloader, Mapping):
            try:
                dataloader = runner.build_dataloader(copy.deepcopy(dict(dataloader)), seed=runner.seed)
            except ValueError as error:  # MMEngine's data sets cannot serialize nothing
                raise ValueError('train_cfg.upper_dataloader cannot be built; is its dataset empty? '
                                 f'({error})') from error
        if not len(dataloader):
            raise ValueError('the validation split is empty (or smaller than a batch with drop_last): '
                             'check train_cfg.upper_dataloader.dataset')
        self._dataloader = dataloader

    def run(self, iteration: int, train_batch: dict) -> None:
        """The upper step before lower step ``iteration`` on ``train_batch``, if one is due."""
        optim_wrapper = self.runner.optim_wrapper
        if not self.searched or not optim_wrapper.is_upper_step(iteration):
            return
        if self._batches is None:
            self._batches = CyclingBatches(self._dataloader, optim_wrapper.upper_steps_before(iteration))
        losses = algorithm_of(self.runner).upper_step(next(self._batches), optim_wrapper, train_batch)
        for name, loss in losses.items():
            self.runner.message_hub.update_scalar(f'train/{name}/upper_loss', loss)


def prepare(runner: Runner) -> None:
    """Checks that the run can be repeated, and gives each lane the schedulers of its kind.

    Raises:
        ValueError: without a seed, or with one that differs from rank to rank.
    """
    randomness = runner._randomness_cfg
    if randomness.get('seed') is None or randomness.get('diff_rank_seed'):
        raise ValueError('set randomness=dict(seed=…), without diff_rank_seed: ranks and resumed runs draw the same '
                         f'teachers; got {dict(randomness)}')
    runner.param_schedulers = expand_schedulers(runner.param_schedulers, algorithm_of(runner))


def start(runner: Runner, iteration: int) -> None:
    """Gives the draws the run's seed and position, both known once a checkpoint is loaded."""
    algorithm = algorithm_of(runner)
    if algorithm.draw_seed is None:
        algorithm.draw_seed = runner.seed
    algorithm.step = iteration


def expand_schedulers(schedulers, algorithm: nn.Module):
    """``dict(student=…, theta=…)``, or a list for the students alone, to one list an optimizer entry.

    Raises:
        ValueError: for another key.
    """
    if schedulers is None:
        return None
    if not isinstance(schedulers, Mapping) or 'type' in schedulers:
        schedulers = dict(student=schedulers)
    if set(schedulers) - {'student', 'theta'}:
        raise ValueError(f"param_scheduler takes the keys 'student' and 'theta', got {sorted(schedulers)}")
    entries = {name: schedulers.get('student', []) for name in algorithm.lanes}
    entries.update({name + THETA: schedulers.get('theta', []) for name in algorithm.searched})
    return {name: copy.deepcopy(value) for name, value in entries.items()}


@LOOPS.register_module()
class BilevelTrainLoop(EpochBasedTrainLoop):
    """DynaKD by epoch: the training loader defines the epoch, the validation loader cycles, reshuffled.

    Every epoch starts from generators seeded by (seed, epoch): resumed at an epoch, a run goes on as it would have.

    Args:
        upper_dataloader: loader (or config) of the split on which θ is learned; needed where a lane searches.
        Others: as MMEngine's ``EpochBasedTrainLoop``.
    """

    def __init__(self, runner: Runner, dataloader, max_epochs: int, upper_dataloader=None, **kwargs) -> None:
        super().__init__(runner, dataloader, max_epochs, **kwargs)
        prepare(runner)
        self.upper = UpperSteps(runner, upper_dataloader)

    def run(self) -> nn.Module:
        start(self.runner, self._iter)
        return super().run()

    def run_epoch(self) -> None:
        seed_everything(self.runner.seed, self._epoch)
        super().run_epoch()

    def run_iter(self, idx: int, data_batch: dict) -> None:
        self.upper.run(self._iter, data_batch)
        super().run_iter(idx, data_batch)


@LOOPS.register_module()
class BilevelIterTrainLoop(IterBasedTrainLoop):
    """DynaKD by iteration; arguments as MMEngine's ``IterBasedTrainLoop``, plus ``upper_dataloader``.

    Each training batch is loaded from generators seeded by (seed, iteration).
    """

    def __init__(self, runner: Runner, dataloader, max_iters: int, upper_dataloader=None, **kwargs) -> None:
        super().__init__(runner, dataloader, max_iters, **kwargs)
        self.dataloader_iterator = CyclingBatches(self.dataloader, seed=runner.seed)
        prepare(runner)
        self.upper = UpperSteps(runner, upper_dataloader)

    def run(self) -> nn.Module:
        start(self.runner, self._iter)
        return super().run()

    def run_iter(self, data_batch: dict) -> None:
        self.upper.run(self._iter, data_batch)
        super().run_iter(data_batch)
