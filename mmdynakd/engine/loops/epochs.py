"""A training loop by epoch that goes on exactly where it was cut off."""

from typing import NamedTuple

from mmengine.runner import EpochBasedTrainLoop

from mmdynakd.compat.mmengine_internals import count_epoch
from mmdynakd.generators import GeneratorStates, seed_everything, set_generator_states
from mmdynakd.registry import LOOPS

from .batches import Round


class Place(NamedTuple):
    """Where within an epoch a run goes on.

    Attributes:
        done: batches of the epoch that are done.
        generators: states of the global generators after them; None where they start from a seed.

    Examples:
        >>> Place()
        Place(done=0, generators=None)
    """

    done: int = 0
    generators: GeneratorStates | None = None


@LOOPS.register_module()
class RepeatableTrainLoop(EpochBasedTrainLoop):
    """MMEngine's loop, but every epoch starts from generators seeded by (seed, epoch).

    So a run that was resumed goes on as it would have without a break: at an epoch, and, with our
    :class:`CheckpointHook`, within one, whose first batches are loaded and passed over. Worker
    processes that die are replaced, see :class:`Round`.

    Arguments as MMEngine's ``EpochBasedTrainLoop``.

    Examples:
        In a config: ``train_cfg=dict(type='mmdynakd.RepeatableTrainLoop', max_epochs=2)``.

        >>> LOOPS.get('RepeatableTrainLoop').__name__
        'RepeatableTrainLoop'
    """

    resumed = Place()

    def run_epoch(self) -> None:
        """Run one epoch, or the rest of one."""
        runner = self.runner
        seed_everything(runner.seed, self.epoch)
        runner.call_hook('before_train_epoch')
        runner.model.train()
        (done, generators), self.resumed = self.resumed, Place()
        batches = Round(self.dataloader, runner.seed, self.epoch, done)
        if generators is not None:
            set_generator_states(generators)
        for idx, data_batch in enumerate(batches, done):
            self.run_iter(idx, data_batch)
        runner.call_hook('after_train_epoch')
        count_epoch(self)
