"""Batches whose content is a function of their place alone, whatever was cut off or died before."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator

import torch
from mmengine.dist import all_gather, get_rank
from mmengine.logging import print_log
from torch.utils.data import DataLoader

from mmdynakd.errors import UserError
from mmdynakd.generators import (
    generator_states,
    seed_everything,
    set_generator_states,
    untouched_generators,
)

RESTARTS = 3  # of a round's workers without a batch in between


class Round:
    """One round over a data loader, from batch ``start`` on.

    Worker processes are started anew each round and seeded by (seed, round, rank, worker), so that
    a batch is the same whenever the round was begun. Where one dies, the round is opened again and
    goes on where it was.

    Args:
        dataloader: of any data set.
        seed: of the run.
        number: of the round, from 0; also the epoch of a sampler that has ``set_epoch``.
        start: batches to pass over.

    Raises:
        RuntimeError: if workers die again and again, or one raises.
    """

    def __init__(self, dataloader: DataLoader, seed: int, number: int, start: int = 0) -> None:
        self._dataloader, self._seed, self._number = dataloader, seed, number
        self._served = 0
        self._before = generator_states() if dataloader.num_workers else None
        self._iterator = self._opened()
        for _ in range(start):
            next(self)

    def __iter__(self) -> 'Round':
        return self

    def __next__(self):
        for _ in range(RESTARTS):
            try:
                batch = next(self._iterator)
            except RuntimeError as error:
                if 'DataLoader worker' not in str(error) or self._dataloader.num_workers == 0:
                    raise
                print_log(
                    f'{error}; its round goes on with new workers', 'current', logging.WARNING
                )
                self._reopen()
            else:
                self._served += 1
                return batch
        raise RuntimeError(
            f'workers of the data loader died {RESTARTS} times at batch {self._served} of round '
            f'{self._number}: is memory short? Lower num_workers or the batch size'
        )

    def _opened(self) -> Iterator:
        loader = self._dataloader
        if loader.num_workers == 0:
            return iter(loader)
        loader._iterator = (
            None  # persistent workers would go on with the streams of the round before
        )
        given = getattr(loader.worker_init_fn, 'given', loader.worker_init_fn)
        loader.worker_init_fn = _SeededWorker(given, (self._seed, self._number, get_rank()))
        iterator = iter(loader)
        if threading.current_thread() is threading.main_thread():
            # torch's handler raises wherever the main thread happens to be; next() finds a dead
            # worker as well.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        return iterator

    def _reopen(self) -> None:
        with untouched_generators():
            set_generator_states(self._before)  # a sampler may draw its order from them
            self._iterator = self._opened()
            served, self._served = self._served, 0
            for _ in range(served):
                next(self)


class _SeededWorker:
    """A ``worker_init_fn``: the loader's own, then a seed by place."""

    def __init__(self, given: Callable[[int], None] | None, place: tuple[int, ...]) -> None:
        self.given, self._place = given, place

    def __call__(self, worker: int) -> None:
        if self.given is not None:
            self.given(worker)
        seed_everything(*self._place, worker)


def check_lengths(dataloader: DataLoader, key: str) -> None:
    """Raises UserError, on every rank, if the ranks have different numbers of batches: some would
    wait for ever.
    """
    lengths = [int(length) for length in all_gather(torch.tensor(len(dataloader)))]
    if len(set(lengths)) > 1:
        other = not dataloader.drop_last
        raise UserError(
            f'{key} has {lengths} batches on ranks 0 to {len(lengths) - 1}, but every step needs '
            'all '
            f'ranks: set {key}.sampler.round_up=True, which repeats samples, or '
            f'{key}.drop_last={other}'
        )


class CyclingBatches:
    """Cycles a data loader, reshuffled each time round.

    Args:
        dataloader: with a sampler that has ``set_epoch`` (MMEngine's), or none that shuffles.
        start: number of batches already served, skipped without being loaded where a whole round
            passed.
        seed: of the run.
        per_batch: the global generators are seeded by (seed, position) before a batch is loaded, so
            that augmentation in this process too depends on the position alone.
    """

    def __init__(
        self, dataloader: DataLoader, start: int = 0, seed: int = 0, per_batch: bool = False
    ) -> None:
        self._dataloader, self._seed, self._per_batch = dataloader, seed, per_batch
        # Else each new round would draw a worker seed from the global generator, that the model
        # draws from too.
        dataloader.generator = torch.Generator().manual_seed(seed)
        self.position = 0
        self._round: Iterator = iter(())
        self.seek(start)

    def seek(self, position: int) -> None:
        """The next batch is number ``position`` (from 0)."""
        length = len(self._dataloader)
        self.position = position - position % length
        with (
            untouched_generators()
        ):  # what is skipped must not shift what the training batches draw
            for _ in range(position % length):
                next(self)

    def skip_iter(self, count: int) -> None:
        """Passes over ``count`` batches; onedl-mmengine's loop by iteration asks for it when it
        resumes.
        """
        self.seek(self.position + count)

    def __iter__(self) -> 'CyclingBatches':
        return self

    def __next__(self):
        number, offset = divmod(self.position, len(self._dataloader))
        if self._per_batch:
            seed_everything(self._seed, self.position)
        if offset == 0:
            sampler = getattr(self._dataloader.batch_sampler, 'sampler', self._dataloader.sampler)
            if hasattr(sampler, 'set_epoch'):
                sampler.set_epoch(number)
            self._round = Round(self._dataloader, self._seed, number)
        batch = next(self._round)
        self.position += 1
        return batch
