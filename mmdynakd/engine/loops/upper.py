"""The upper half of a bilevel loop: batches of the validation split, and records of it."""

import contextlib
import copy
import time
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmdynakd.datasets.views import Views, is_deterministic
from mmdynakd.models.algorithms import DynaKD
from mmdynakd.models.teachers import RecordStore
from mmdynakd.models.unwrap import algorithm_of

from .batches import CyclingBatches, check_lengths

CACHE_MB = 1024
SAID = 10  # seconds from one progress message to the next


class UpperSteps:
    """Upper steps of a loop; without a searched lane it does nothing.

    If the validation split's pipeline is deterministic (which is tried) and the search goes over
    the split at least once, the teachers' records of it are computed before the first upper step,
    in file order, and kept.

    Args:
        runner: Of the search.
        dataloader: Loader of the split on which θ is learned, or its config. With a loader, records
            can be kept only if its data set says its views.
        cache_mb: At most so many MiB of records are kept, on the teachers' device. With 0, teachers
            run in every upper step.

    Raises:
        ValueError: If θ is searched without a validation split, with an empty one, or with one of
            unequal numbers of batches on the ranks, or if ``cache_mb`` is negative.

    Examples:
        The loop builds it from its settings in a config::

            train_cfg = dict(
                type='mmdynakd.BilevelTrainLoop', max_epochs=240,
                upper_dataloader=dict(...), upper_cache_mb=1024)

        Without a searched lane there is nothing to do:

        >>> from types import SimpleNamespace
        >>> from mmdynakd.models.toy import toy_dynakd
        >>> runner = SimpleNamespace(model=toy_dynakd(selection=None), optim_wrapper=None)
        >>> UpperSteps(runner, dataloader=None).run(0, train_batch={}) is None
        True
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader[Any] | Mapping[str, Any] | None,
        cache_mb: int = CACHE_MB,
    ) -> None:
        if cache_mb < 0:
            raise ValueError(f'train_cfg.upper_cache_mb must be >= 0, got {cache_mb}')
        self.runner, self._cache_mb = runner, cache_mb
        self._batches: CyclingBatches | None = None
        self.searched = list(algorithm_of(runner).searched)
        if self.searched:
            self._dataloader = _checked_loader(runner, dataloader)

    def run(self, iteration: int, train_batch: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Take the upper step before lower step ``iteration``, if one is due.

        Args:
            iteration: Of the search, from 0.
            train_batch: The batch of that lower step.

        Returns:
            The batch of the upper step; None if none was due.
        """
        optim_wrapper = self.runner.optim_wrapper
        if not self.searched or not optim_wrapper.is_upper_step(iteration):
            return None
        algorithm = algorithm_of(self.runner)
        if self._batches is None:
            self._batches = CyclingBatches(
                self._dataloader, optim_wrapper.upper_steps_before(iteration), self.runner.seed
            )
            if self._worth_keeping(algorithm):
                with optim_wrapper.theta_context(algorithm):
                    keep_records(algorithm, self._dataloader, self._cache_mb)
        batch: Mapping[str, Any] = next(self._batches)
        algorithm.upper_step(batch, optim_wrapper, train_batch)
        return batch

    def _worth_keeping(self, algorithm: DynaKD) -> bool:
        """Whether the whole search, resumed or not, reads each record at least once."""
        planned = self.runner.optim_wrapper.upper_steps_before(self.runner.max_iters)
        return bool(
            self._cache_mb
            and algorithm.ensemble.store is None
            and is_fixed(self._dataloader.dataset)
            and planned >= len(self._dataloader)
        )


def is_fixed(dataset: object) -> bool:
    """Tell whether a data set serves views that are the same in every epoch.

    Examples:
        >>> is_fixed(Views([], random=False)), is_fixed(Views([], random=True)), is_fixed([])
        (True, False, False)
    """
    return bool(getattr(dataset, 'takes_views', False) and not getattr(dataset, 'random', True))


def keep_records(algorithm: DynaKD, dataloader: DataLoader[Any], limit_mb: int) -> None:
    """Run the teachers of the searched lanes over a split, so that upper steps need not.

    The batches are in file order and always the same, whatever was resumed. So a record does not
    depend on the batch in which it was first read.

    Args:
        algorithm: Its ensemble keeps the records.
        dataloader: Of a data set whose views are the same in every epoch, see :func:`is_fixed`.
        limit_mb: At most so many MiB are kept. If the split needs more, nothing is.

    Examples:
        >>> import logging
        >>> from mmengine.dataset import pseudo_collate
        >>> from mmdynakd.datasets import Digits
        >>> from mmdynakd.models.toy import toy_dynakd
        >>> pipeline = [dict(type='mmpretrain.PackInputs')]
        >>> val = Views(Digits('val', channels=3, indices=8, pipeline=pipeline), random=False)
        >>> model = toy_dynakd()
        >>> logging.disable()  # it says in the log what is kept
        >>> keep_records(model, DataLoader(val, 4, collate_fn=pseudo_collate), limit_mb=1)
        >>> logging.disable(logging.NOTSET)
        >>> model.ensemble.kept[val.fingerprint].wanted  # 8 x (2 x 3) x 2 float32, in bytes
        384
    """
    memory = RecordStore(limit=limit_mb * 2**20)
    dataset: Any = dataloader.dataset
    # Without a generator of its own, the loader would draw from the global one.
    batches = DataLoader(
        dataset,
        dataloader.batch_size or 64,
        collate_fn=dataloader.collate_fn,
        generator=torch.Generator(),
    )
    progress = _Progress(len(batches))
    algorithm.ensemble.keep(dataset.fingerprint, memory)
    for done, data in enumerate(batches, 1):
        algorithm.read_split(data)
        if memory.full or not memory.wanted:
            algorithm.ensemble.drop(dataset.fingerprint)
        if not memory.wanted:  # a preprocessor that does not pass views on
            return
        if memory.full:
            print_log(
                f"the teachers' records of the validation split need {memory.wanted / 2**20:.0f} "
                f'MiB, more than train_cfg.upper_cache_mb={limit_mb}: teachers run in every upper '
                'step',
                'current',
            )
            return
        progress.say(done)
    print_log(
        f"teachers' records of the {len(dataset)} validation samples are kept "
        f'({memory.wanted / 2**20:.1f} MiB, {progress.seconds():.1f} s): upper steps run no '
        'teacher',
        'current',
    )


class _Progress:
    """Says in the log, every few seconds, how far a pass over the split is."""

    def __init__(self, total: int) -> None:
        self._total, self._start, self._said = total, time.monotonic(), time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._start

    def say(self, done: int) -> None:
        if time.monotonic() - self._said <= SAID:
            return
        self._said = time.monotonic()
        left = self.seconds() / done * (self._total - done)
        print_log(
            f"teachers' records of the validation split: {done}/{self._total} batches, eta "
            f'{left:.0f} s',
            'current',
        )


def _checked_loader(
    runner: Runner, dataloader: DataLoader[Any] | Mapping[str, Any] | None
) -> DataLoader[Any]:
    if dataloader is None:
        raise ValueError('θ is searched on a validation split: set train_cfg.upper_dataloader')
    loader: Any = dataloader
    if isinstance(dataloader, Mapping):
        try:
            loader = runner.build_dataloader(_with_views(dataloader), seed=runner.seed)
        except ValueError as error:  # MMEngine's data sets cannot serialize nothing
            raise ValueError(
                f'train_cfg.upper_dataloader cannot be built; is its dataset empty? ({error})'
            ) from error
    check_lengths(loader, 'train_cfg.upper_dataloader')
    if not len(loader):
        raise ValueError(
            'the validation split is empty (or smaller than a batch with drop_last): '
            'check train_cfg.upper_dataloader.dataset'
        )
    checked: DataLoader[Any] = loader
    return checked


def _with_views(config: Mapping[str, Any]) -> dict[str, Any]:
    """The loader's config with its data set built; it gets views if it is deterministic."""
    config = copy.deepcopy(dict(config))
    dataset = config.get('dataset')
    if isinstance(dataset, Mapping):
        dataset = DATASETS.build(dataset)
        if hasattr(dataset, 'full_init'):
            dataset.full_init()
    if dataset is not None and not getattr(dataset, 'takes_views', False) and len(dataset):
        # Items of an unknown shape raise one of these: nothing is kept then.
        with contextlib.suppress(KeyError, TypeError, AttributeError, ValueError):
            dataset = Views(dataset, random=False) if is_deterministic(dataset) else dataset
    return {**config, 'dataset': dataset}
