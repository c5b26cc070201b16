"""Endless batches whose order is a function of the position alone."""
import random
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.runner import set_random_seed
from torch.utils.data import DataLoader


def seed_everything(seed: int, position: int) -> None:
    """Seeds Python's, NumPy's and torch's global generators by (seed, position), hashed: no two runs overlap."""
    set_random_seed(int(np.random.SeedSequence([seed, position]).generate_state(1)[0]))


class CyclingBatches:
    """Cycles a data loader, reshuffled each time round.

    Args:
        dataloader: with a sampler that has ``set_epoch`` (MMEngine's), or none that shuffles.
        start: number of batches already served, skipped without being loaded where a whole round passed.
        seed: if given, the global generators are seeded by (seed, position) before a batch is loaded, so that
            augmentation too depends on the position alone.
    """

    def __init__(self, dataloader: DataLoader, start: int = 0, seed: int | None = None) -> None:
        self._dataloader, self._seed = dataloader, seed
        # Else each new round would draw a worker seed from the global generator, that the model draws from too.
        dataloader.generator = torch.Generator().manual_seed(seed or 0)
        self.position = 0
        self._iterator: Iterator = iter(())
        self.seek(start)

    def seek(self, position: int) -> None:
        """The next batch is number ``position`` (from 0)."""
        length = len(self._dataloader)
        self.position = position - position % length
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
        for _ in range(position % length):
            next(self)
        # What is skipped must not shift what the training batches draw.
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])

    def skip_iter(self, count: int) -> None:
        """Passes over ``count`` batches; onedl-mmengine's loop by iteration asks for it when it resumes."""
        self.seek(self.position + count)

    def __iter__(self) -> 'CyclingBatches':
        return self

    def __next__(self):
        round_, offset = divmod(self.position, len(self._dataloader))
        if self._seed is not None:
            seed_everything(self._seed, self.position)
        if offset == 0:
            sampler = getattr(self._dataloader.batch_sampler, 'sampler', self._dataloader.sampler)
            if hasattr(sampler, 'set_epoch'):
                sampler.set_epoch(round_)
            self._iterator = iter(self._dataloader)
        batch = next(self._iterator)
        self.position += 1
        return batch
