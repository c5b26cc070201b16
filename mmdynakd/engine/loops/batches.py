"""Batches that depend on their place only, whatever was cut off or died before."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from mmengine.dist import all_gather, get_rank
from mmengine.logging import print_log
from torch.utils.data import DataLoader

from mmdynakd.compat.torch_internals import forget_workers
from mmdynakd.errors import UserError
from mmdynakd.generators import (
    generator_states,
    seed_everything,
    set_generator_states,
    untouched_generators,
)

RESTARTS = 3  # of a round's workers, without a batch in between


class Round(Iterator[Any]):
    """One round over a data loader, from batch ``start`` on.

    Worker processes are started anew each round and seeded by (seed, round, rank, worker), so that
    a batch is the same no matter when the round was begun. Where a worker dies, the round is opened
    again and goes on where it was.

    Args:
        dataloader: of any data set.
        seed: of the run.
        number: of the round, from 0; also the epoch of a sampler that has ``set_epoch``.
        start: batches to pass over.

    Raises:
        RuntimeError: workers die again and again, or one raises.

    Examples:
        >>> loader = DataLoader(range(6), batch_size=2)
        >>> [batch.tolist() for batch in Round(loader, seed=0, number=0, start=1)]
        [[2, 3], [4, 5]]
    """

    def __init__(self, dataloader: DataLoader[Any], seed: int, number: int, start: int = 0) -> None:
        self._dataloader, self._seed, self._number = dataloader, seed, number
        self._served = 0
        self._before = generator_states() if dataloader.num_workers else None
        self._iterator = self._opened()
        for _ in range(start):
            next(self)

    def __next__(self) -> Any:
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

    def _opened(self) -> Iterator[Any]:
        loader = self._dataloader
        if loader.num_workers == 0:
            return iter(loader)
        forget_workers(loader)  # persistent ones would go on with the streams of the round before
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
            if self._before is not None:  # a sampler may draw its order from them
                set_generator_states(self._before)
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


def check_lengths(dataloader: DataLoader[Any], key: str) -> None:
    """Check that all ranks have the same number of batches; otherwise some would wait for ever.

    Args:
        dataloader: of this rank.
        key: of its config, for the message.

    Raises:
        UserError: on every rank, if the numbers differ.

    Examples:
        >>> check_lengths(DataLoader(range(6)), 'train_dataloader')
    """
    lengths = [int(length) for length in all_gather(torch.tensor(len(dataloader)))]
    if len(set(lengths)) > 1:
        other = not dataloader.drop_last
        raise UserError(
            f'{key} has {lengths} batches on ranks 0 to {len(lengths) - 1}, but every step needs '
            f'all ranks: set {key}.sampler.round_up=True, which repeats samples, or '
            f'{key}.drop_last={other}'
        )


class CyclingBatches(Iterator[Any]):
    """Cycles a data loader without end, reshuffled each time round.

    Args:
        dataloader: with a sampler that has ``set_epoch`` (MMEngine's), or one that does not
            shuffle.
        start: number of batches already served; whole rounds of them are skipped without being
            loaded.
        seed: of the run.
        per_batch: seed the global generators by (seed, position) before each batch is loaded, so
            that augmentation in this process too depends on the position only.

    Examples:
        >>> batches = CyclingBatches(DataLoader(range(6), batch_size=2), start=5)
        >>> [next(batches).tolist() for _ in range(2)], batches.position
        ([[4, 5], [0, 1]], 7)
    """

    def __init__(
        self, dataloader: DataLoader[Any], start: int = 0, seed: int = 0, per_batch: bool = False
    ) -> None:
        self._dataloader, self._seed, self._per_batch = dataloader, seed, per_batch
        # Without a generator of its own, each round would draw a worker seed from the global one,
        # from which the model draws too.
        dataloader.generator = torch.Generator().manual_seed(seed)
        self.position = 0
        self._round: Iterator[Any] = iter(())
        self.seek(start)

    def seek(self, position: int) -> None:
        """Make batch number ``position`` (from 0) the next one."""
        length = len(self._dataloader)
        self.position = position - position % length
        # What is skipped must not shift what the training batches draw.
        with untouched_generators():
            for _ in range(position % length):
                next(self)

    def skip_iter(self, count: int) -> None:
        """Pass over ``count`` batches: onedl-mmengine's loop by iteration asks for it to resume."""
        self.seek(self.position + count)

    def __next__(self) -> Any:
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
