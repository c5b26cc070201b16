"""The upper half of a bilevel loop: batches of the validation split, and what the teachers say of
it, once.
"""

import copy
import time
from collections.abc import Mapping

import torch
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from mmdynakd.datasets.views import Views, is_deterministic
from mmdynakd.models.teachers import RecordStore
from mmdynakd.models.unwrap import algorithm_of

from .batches import CyclingBatches, check_lengths

CACHE_MB = 1024
SAID = 10  # seconds from one progress message to the next


class UpperSteps:
    """Upper steps of a loop; without a searched lane it does nothing.

    Where the validation split's pipeline is deterministic (which is tried) and the search goes over
    the split at least once, the teachers' records of it are computed before the first upper step,
    in file order, and kept.

    Args:
        runner: of the search.
        dataloader: the loader of the split on which θ is learned, or its config (only then records
            can be kept, unless its data set says its views).
        cache_mb: at most so many MiB of records are kept, on the teachers' device; 0: teachers run
            in every upper step.

    Raises:
        ValueError: if θ is searched without a validation split, with an empty one or one of unequal
            numbers of batches on the ranks, or ``cache_mb`` is negative.
    """

    def __init__(
        self, runner: Runner, dataloader: DataLoader | Mapping | None, cache_mb: int = CACHE_MB
    ) -> None:
        if cache_mb < 0:
            raise ValueError(f'train_cfg.upper_cache_mb must be >= 0, got {cache_mb}')
        self.runner, self._cache_mb, self._batches = runner, cache_mb, None
        self.searched = list(algorithm_of(runner).searched)
        if not self.searched:
            return
        if dataloader is None:
            raise ValueError('θ is searched on a validation split: set train_cfg.upper_dataloader')
        if isinstance(dataloader, Mapping):
            try:
                dataloader = runner.build_dataloader(_with_views(dataloader), seed=runner.seed)
            except ValueError as error:  # MMEngine's data sets cannot serialize nothing
                raise ValueError(
                    f'train_cfg.upper_dataloader cannot be built; is its dataset empty? ({error})'
                ) from error
        check_lengths(dataloader, 'train_cfg.upper_dataloader')
        if not len(dataloader):
            raise ValueError(
                'the validation split is empty (or smaller than a batch with drop_last): '
                'check train_cfg.upper_dataloader.dataset'
            )
        self._dataloader = dataloader

    def run(self, iteration: int, train_batch: dict) -> dict | None:
        """The upper step before lower step ``iteration`` on ``train_batch``, if one is due; returns
        its batch.
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
        batch = next(self._batches)
        algorithm.upper_step(batch, optim_wrapper, train_batch)
        return batch

    def _worth_keeping(self, algorithm: nn.Module) -> bool:
        """Whether records may be kept, and the search as a whole (resumed or not) reads each of
        them at least once.
        """
        dataset, planned = (
            self._dataloader.dataset,
            self.runner.optim_wrapper.upper_steps_before(self.runner.max_iters),
        )
        return bool(
            self._cache_mb
            and algorithm.ensemble.store is None
            and is_fixed(dataset)
            and planned >= len(self._dataloader)
        )


def is_fixed(dataset) -> bool:
    """Whether a data set serves views that every epoch sees alike."""
    return getattr(dataset, 'takes_views', False) and not dataset.random


def keep_records(algorithm: nn.Module, dataloader: DataLoader, limit_mb: int) -> None:
    """Runs the teachers of the searched lanes over a split, in file order, so that upper steps need
    not.

    Always the same batches, whatever was resumed: a record does not depend on the batch in which it
    was first read.
    """
    memory = RecordStore(limit=limit_mb * 2**20)
    ensemble, start, said = algorithm.ensemble, time.monotonic(), time.monotonic()
    source = dataloader.dataset.fingerprint
    ensemble.keep(source, memory)
    batches = DataLoader(
        dataloader.dataset,
        dataloader.batch_size or 64,
        collate_fn=dataloader.collate_fn,
        generator=torch.Generator(),
    )  # else it would draw from the global generator
    for done, data in enumerate(batches, 1):
        algorithm.read_split(data)
        if memory.full or not memory.wanted:
            ensemble.drop(source)
        if not memory.wanted:  # a preprocessor that does not pass views on
            return
        if memory.full:
            print_log(
                f"the teachers' records of the validation split need {memory.wanted / 2**20:.0f} "
                'MiB, more than '
                f'train_cfg.upper_cache_mb={limit_mb}: teachers run in every upper step',
                'current',
            )
            return
        if time.monotonic() - said > SAID:
            said = time.monotonic()
            left = (said - start) / done * (len(batches) - done)
            print_log(
                f"teachers' records of the validation split: {done}/{len(batches)} batches, eta "
                f'{left:.0f} s',
                'current',
            )
    print_log(
        f"teachers' records of the {len(batches.dataset)} validation samples are kept "
        f'({memory.wanted / 2**20:.1f} MiB, {time.monotonic() - start:.1f} s): upper steps run no '
        'teacher',
        'current',
    )


def _with_views(config: Mapping) -> dict:
    """The loader's config, its data set built and, where it is deterministic, with views."""
    config = copy.deepcopy(dict(config))
    dataset = config.get('dataset')
    if isinstance(dataset, Mapping):
        dataset = DATASETS.build(dataset)
        if hasattr(dataset, 'full_init'):
            dataset.full_init()
    if dataset is not None and not getattr(dataset, 'takes_views', False) and len(dataset):
        try:
            dataset = Views(dataset, random=False) if is_deterministic(dataset) else dataset
        except (
            KeyError,
            TypeError,
            AttributeError,
            ValueError,
        ):  # items of a shape of its own: nothing is kept
            return {**config, 'dataset': dataset}
    return {**config, 'dataset': dataset}
