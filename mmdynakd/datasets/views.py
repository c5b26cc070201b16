"""Views: an augmented sample as a pure function of (seed, epoch, index)."""

import contextlib
import functools
import itertools
import random
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from torch.utils.data import Dataset

from mmdynakd.registry import DATA_SAMPLERS, DATASETS

from .fingerprint import entries, fingerprint
from .source import Item, Labels, Source, built


class View(NamedTuple):
    """What a sampler asks a data set for: a sample as an epoch sees it.

    Attributes:
        epoch: from 0.
        sample: its index in the data set, from 0.

    Examples:
        >>> View(3, 7)
        View(epoch=3, sample=7)
    """

    epoch: int
    sample: int


@DATA_SAMPLERS.register_module()
class ViewSampler(DefaultSampler):
    """MMEngine's ``DefaultSampler``, in the same order, that yields a :class:`View` for each index.

    The epoch is the one that ``set_epoch`` was last given (MMEngine's loops call it), at first 0.
    The arguments are those of ``DefaultSampler``. In a config:
    ``sampler=dict(type='mmdynakd.ViewSampler', shuffle=True)``.

    Examples:
        >>> sampler = ViewSampler(range(3), shuffle=False)
        >>> sampler.set_epoch(5)
        >>> list(sampler)[:2]
        [View(epoch=5, sample=0), View(epoch=5, sample=1)]
    """

    def __iter__(self) -> Iterator[View]:
        make = functools.partial(tuple.__new__, View)  # View._make, without a Python frame an image
        return map(make, zip(itertools.repeat(self.epoch), super().__iter__()))


def as_view(index: View | int, random: bool, owner: str) -> View:
    """The view that an index means; where nothing is random, that of epoch 0.

    Args:
        index: a view, or a sample's index.
        random: whether the data set augments.
        owner: its name, for the message.

    Raises:
        ValueError: a bare int where something is random.

    Examples:
        >>> as_view(7, random=False, owner='Views')
        View(epoch=0, sample=7)
        >>> as_view(View(3, 7), random=True, owner='Views')
        View(epoch=3, sample=7)
    """
    if isinstance(index, View):
        return index if random else View(0, index.sample)
    if random:
        raise ValueError(
            f'{owner} augments by (seed, epoch, index) and got the bare index {index}: every epoch '
            "would see the same pixels. Set sampler=dict(type='mmdynakd.ViewSampler', "
            'shuffle=True) in its dataloader, or ask for View(epoch, index)'
        )
    return View(0, int(index))


@contextlib.contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Starts Python's, NumPy's and torch's (CPU) global generators from ``key`` within a block.

    At its end they are as they were before.

    Args:
        *key: integers >= 0.

    Examples:
        >>> with seeded(1, 2):
        ...     first = random.random()
        >>> with seeded(1, 2):
        ...     print(random.random() == first)
        True
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
class Views(Dataset[Item]):
    """Makes each sample of a data set a pure function of (seed, epoch, index).

    The pipeline runs from generators seeded by these three, so a sample does not depend on the
    order, the batch, the worker process or the rank. This holds for transforms that draw from
    Python's ``random``, ``numpy.random`` or torch's CPU generator, as those of MMPretrain, MMCV and
    torchvision do. Each sample's ``data_samples`` gets the metainfo ``view`` (epoch · N + index),
    ``view_source`` (:attr:`fingerprint`) and ``view_size`` (N).

    Args:
        dataset: a data set of MMPretrain (config or built) whose pipeline ends with ``PackInputs``.
        seed: >= 0.
        random: False for a pipeline that draws nothing, as for a validation split. Then the epoch
            counts as 0, and plain indices are accepted too.

    Raises:
        ValueError: a negative seed; or a bare int as index with ``random=True``.

    Examples:
        >>> flip = dict(type='mmpretrain.RandomFlip', prob=0.5)
        >>> pack = dict(type='mmpretrain.PackInputs')
        >>> data = Views(dict(type='mmdynakd.Digits', split='val', pipeline=[flip, pack]), seed=1)
        >>> first, again = data[View(3, 7)], data[View(3, 7)]
        >>> torch.equal(first['inputs'], again['inputs']), first['data_samples'].view
        (True, 1078)
    """

    takes_views = True

    def __init__(
        self, dataset: Source | Mapping[str, Any], seed: int = 0, random: bool = True
    ) -> None:
        if seed < 0:
            raise ValueError(f'Views: seed must be >= 0, got {seed}')
        self.dataset = built(dataset)
        self.seed, self.random = seed, random

    @property
    def metainfo(self) -> Mapping[str, Any]:
        """Class names and the like, of the inner data set."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Loads the inner data set and hashes it, once, before worker processes start."""
        _ = self.fingerprint

    def get_gt_labels(self) -> Labels:
        """(N,) classes, of the inner data set."""
        return self.dataset.get_gt_labels()

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 of what decides the pixels and labels; see :func:`.fingerprint`.

        It covers each sample's entry (image files by path, size and time of change), the data set's
        class and settings with its pipeline, the seed and ``random``. It takes about 40 µs a
        sample, once.
        """
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()
        hashed = [fingerprint(entry) for entry in entries(self.dataset)]
        return fingerprint('mmdynakd.Views 1', hashed, self.dataset, self.seed, self.random)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: View | int) -> Item:
        epoch, sample = map(int, as_view(index, self.random, 'Views'))
        with seeded(self.seed, epoch, sample):
            item = self.dataset[sample]
        if 'data_samples' not in item:
            raise ValueError("Views: the data set's pipeline must end with dict(type='PackInputs')")
        item['data_samples'].set_metainfo(
            dict(
                view=epoch * len(self) + sample,
                view_source=self.fingerprint,
                view_size=len(self),
            )
        )
        return item


def is_deterministic(dataset: Any, probe: int = 64) -> bool:
    """Whether a sample is the same whenever it is asked for, tried on some samples.

    Each is loaded twice, from generators in different states and, if the data set serves views, in
    different epochs. Inputs and labels must be exactly equal. The generators are left as they were.

    Args:
        dataset: a :class:`Source`, or one of this package's.
        probe: how many samples to try, spread over the data set.

    Examples:
        >>> flip = dict(type='mmpretrain.RandomFlip', prob=0.5)
        >>> pack = dict(type='mmpretrain.PackInputs')
        >>> digits = dict(type='mmdynakd.Digits', split='val')
        >>> is_deterministic(built(dict(digits, pipeline=[pack])))
        True
        >>> is_deterministic(built(dict(digits, pipeline=[flip, pack])))
        False
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


def _equal(first: Item, second: Item) -> bool:
    if not torch.equal(first['inputs'], second['inputs']):
        return False
    labels = [
        [item['data_samples'].get(key) for key in ('gt_label', 'gt_score')]
        for item in (first, second)
    ]
    return all(
        a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in zip(*labels)
    )
