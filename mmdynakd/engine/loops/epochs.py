"""A training loop by epoch that goes on exactly where it was cut off."""

from mmengine.runner import EpochBasedTrainLoop

from mmdynakd.generators import seed_everything, set_generator_states
from mmdynakd.registry import LOOPS

from .batches import Round


@LOOPS.register_module()
class RepeatableTrainLoop(EpochBasedTrainLoop):
    """MMEngine's loop; every epoch starts from generators seeded by (seed, epoch).

    So a run that was resumed goes on as it would have: at an epoch, and with
    :class:`CheckpointHook` within one, whose first batches are loaded and passed over. Worker
    processes that die are replaced, see :class:`Round`.

    Arguments as MMEngine's ``EpochBasedTrainLoop``.
    """

    resumed: tuple[int, dict | None] = (
        0,
        None,
    )  # batches that are done of the epoch, generators after them

    def run_epoch(self) -> None:
        runner = self.runner
        seed_everything(runner.seed, self._epoch)
        runner.call_hook('before_train_epoch')
        runner.model.train()
        (done, generators), self.resumed = self.resumed, (0, None)
        batches = Round(self.dataloader, runner.seed, self._epoch, done)
        if generators is not None:
            set_generator_states(generators)
        for idx, data_batch in enumerate(batches, done):
            self.run_iter(idx, data_batch)
        runner.call_hook('after_train_epoch')
        self._epoch += 1
