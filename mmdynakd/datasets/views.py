"""Views: an augmented sample as a pure function of (seed, epoch, sample)."""

import contextlib
import functools
import itertools
import random
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from torch.utils.data import Dataset

from mmdynakd.registry import DATA_SAMPLERS, DATASETS

from .fingerprint import entries, fingerprint


class View(NamedTuple):
    """What a sampler asks a data set for: sample ``index`` as epoch ``epoch`` sees it, both from 0."""

    epoch: int
    index: int


@DATA_SAMPLERS.register_module()
class ViewSampler(DefaultSampler):
    """MMEngine's ``DefaultSampler``, in the same order, that yields a :class:`View` in place of
    each index.

    The epoch is what ``set_epoch`` said last (MMEngine's loops do), 0 at first. Arguments as
    ``DefaultSampler``.
    """

    def __iter__(self) -> Iterator[View]:
        make = functools.partial(tuple.__new__, View)  # View._make, without a Python frame an image
        return map(make, zip(itertools.repeat(self.epoch), super().__iter__()))


def as_view(index, random: bool, owner: str) -> View:
    """The view that an index means: of epoch 0 where nothing is random.

    Raises:
        ValueError: for a bare int where there is something random.
    """
    if isinstance(index, View):
        return index if random else View(0, index.index)
    if random:
        raise ValueError(
            f'{owner} augments by (seed, epoch, index) and got the bare index {index}: every epoch '
            'would '
            "see the same pixels. Set sampler=dict(type='mmdynakd.ViewSampler', shuffle=True) in "
            'its '
            'dataloader, or ask for View(epoch, index)'
        )
    return View(0, int(index))


@contextlib.contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Within it Python's, NumPy's and torch's global generators (the CPU's) start from ``key``;
    then all is as before.

    Args:
        key: integers >= 0.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    words = np.random.SeedSequence(key).generate_state(4)
    random.seed(int(words[0]))
    np.random.seed(words[1])  # noqa: NPY002
    torch.default_generator.manual_seed(int(words[2]) << 32 | int(words[3]))
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


@DATASETS.register_module()
class Views(Dataset):
    """Makes each sample of a data set a pure function of (seed, epoch, index).

    Whatever the order, the batch, the worker process or the rank: the pipeline runs from generators
    seeded by these three. It holds for transforms that draw from Python's ``random``,
    ``numpy.random`` or torch's CPU generator, as those of MMPretrain, MMCV and torchvision do. Each
    sample's ``data_samples`` gets the metainfo ``view`` (epoch · N + index), ``view_source``
    (:attr:`fingerprint`) and ``view_size`` (N).

    Args:
        dataset: a data set of MMPretrain (config or built) whose pipeline ends with ``PackInputs``.
        seed: >= 0.
        random: False for a pipeline that draws nothing, as that of a validation split: the epoch
            counts as 0, and plain indices are taken too.

    Raises:
        ValueError: for a negative seed; when indexed by a bare int with ``random=True``.
    """

    takes_views = True

    def __init__(self, dataset, seed: int = 0, random: bool = True) -> None:
        if seed < 0:
            raise ValueError(f'Views: seed must be >= 0, got {seed}')
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.seed, self.random = seed, random

    @property
    def metainfo(self) -> dict:
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Loads the inner data set and hashes it, once, before worker processes start."""
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()
        _ = self.fingerprint

    def get_gt_labels(self) -> np.ndarray:
        return self.dataset.get_gt_labels()

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 of what decides the pixels and labels: see :func:`.fingerprint`.

        That is each sample's entry (image files by path, size and time of change), the data set's
        class and settings with its pipeline, the seed and ``random``. It takes about 40 µs a
        sample, once.
        """
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()
        hashed = [fingerprint(entry) for entry in entries(self.dataset)]
        return fingerprint('mmdynakd.Views 1', hashed, self.dataset, self.seed, self.random)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: View | int) -> dict:
        view = as_view(index, self.random, 'Views')
        with seeded(self.seed, int(view.epoch), int(view.index)):
            item = self.dataset[int(view.index)]
        if 'data_samples' not in item:
            raise ValueError("Views: the data set's pipeline must end with dict(type='PackInputs')")
        item['data_samples'].set_metainfo(
            dict(
                view=int(view.epoch) * len(self) + int(view.index),
                view_source=self.fingerprint,
                view_size=len(self),
            )
        )
        return item


def is_deterministic(dataset, probe: int = 64) -> bool:
    """Whether a sample is the same whenever it is asked for, tried on ``probe`` samples spread over
    the data set.

    Each is loaded twice, from generators in different states and, where the data set serves views,
    in different epochs; inputs and labels must be equal exactly. The generators are left as they
    were.
    """
    count = min(probe, len(dataset))
    takes_views = getattr(dataset, 'takes_views', False)
    for index in np.linspace(0, len(dataset) - 1, count).astype(int).tolist():
        pair = []
        for epoch in (0, 1):
            with seeded(epoch, index):
                pair.append(dataset[View(epoch, index) if takes_views else index])
        if not _equal(*pair):
            return False
    return True


def _equal(first: dict, second: dict) -> bool:
    if not torch.equal(first['inputs'], second['inputs']):
        return False
    labels = [
        [item['data_samples'].get(key) for key in ('gt_label', 'gt_score')]
        for item in (first, second)
    ]
    return all(
        a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in zip(*labels)
    )
