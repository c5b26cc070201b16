"""The upper half of a bilevel loop: validation batches, and the teachers' records of them."""

import contextlib
import copy
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmdynakd.datasets.views import Views, is_deterministic
from mmdynakd.models.teachers import RecordStore
from mmdynakd.models.unwrap import algorithm_of

from .batches import CyclingBatches, check_lengths

if TYPE_CHECKING:
    from mmdynakd.models.algorithms import DynaKD

CACHE_MB = 1024
SAID = 10  # seconds from one progress message to the next


class UpperSteps:
    """Upper steps of a loop; without a searched lane it does nothing.

    Where the validation split's pipeline is deterministic (found by trying) and the search goes
    over the split at least once, the teachers' records of it are computed before the first upper
    step, in file order, and kept.

    Args:
        runner: of the search.
        dataloader: loader of the split on which θ is learned, or its config. Records of a loader
            can be kept only if its data set says its views.
        cache_mb: MiB of records that may be kept, on the teachers' device; with 0 the teachers run
            in every upper step.

    Raises:
        ValueError: θ is searched without a validation split, with an empty one or one of unequal
            numbers of batches on the ranks; or ``cache_mb`` is negative.

    Examples:
        A loop asks it before each lower step: ``UpperSteps(runner, loader).run(iteration, batch)``.
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
            self._dataloader = _built(runner, dataloader)

    def run(self, iteration: int, train_batch: dict[str, Any]) -> dict[str, Any] | None:
        """Take the upper step before a lower step, if one is due.

        Args:
            iteration: of the lower step, from 0.
            train_batch: of the lower step.

        Returns:
            The batch of the validation split that was used; None where no step was due.
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
        batch: dict[str, Any] = next(self._batches)
        algorithm.upper_step(batch, optim_wrapper, train_batch)
        return batch

    def _worth_keeping(self, algorithm: 'DynaKD') -> bool:
        """Whether records may be kept, and the whole search reads each of them at least once."""
        planned = self.runner.optim_wrapper.upper_steps_before(self.runner.max_iters)
        return bool(
            self._cache_mb
            and algorithm.ensemble.store is None
            and is_fixed(self._dataloader.dataset)
            and planned >= len(self._dataloader)
        )


def _built(
    runner: Runner, dataloader: DataLoader[Any] | Mapping[str, Any] | None
) -> DataLoader[Any]:
    """The loader of the validation split, checked."""
    if dataloader is None:
        raise ValueError('θ is searched on a validation split: set train_cfg.upper_dataloader')
    if isinstance(dataloader, Mapping):
        try:
            dataloader = runner.build_dataloader(_with_views(dataloader), seed=runner.seed)
        except ValueError as error:  # MMEngine's data sets cannot serialize nothing
            raise ValueError(
                f'train_cfg.upper_dataloader cannot be built; is its dataset empty? ({error})'
            ) from error
    loader: Any = dataloader
    check_lengths(loader, 'train_cfg.upper_dataloader')
    if not len(loader):
        raise ValueError(
            'the validation split is empty (or smaller than a batch with drop_last): '
            'check train_cfg.upper_dataloader.dataset'
        )
    built: DataLoader[Any] = loader
    return built


def is_fixed(dataset: Any) -> bool:
    """Whether a data set serves views that are the same in every epoch.

    Examples:
        >>> is_fixed(Views([dict(inputs=1)], random=False)), is_fixed([dict(inputs=1)])
        (True, False)
    """
    return getattr(dataset, 'takes_views', False) and not dataset.random


def keep_records(algorithm: 'DynaKD', dataloader: DataLoader[Any], limit_mb: int) -> None:
    """Run the teachers of the searched lanes over a split, so that upper steps need not.

    The batches are in file order and always the same, whatever was resumed: a record must not
    depend on the batch in which it was first read.

    Args:
        algorithm: with its lanes and teachers.
        dataloader: of the split; its data set says its views.
        limit_mb: MiB of records that may be kept; above that none are.

    Examples:
        :class:`UpperSteps` calls it before the first upper step.
    """
    memory = RecordStore(limit=limit_mb * 2**20)
    ensemble, start, said = algorithm.ensemble, time.monotonic(), time.monotonic()
    dataset: Any = dataloader.dataset
    source = dataset.fingerprint
    ensemble.keep(source, memory)
    batches: DataLoader[Any] = DataLoader(
        dataset,
        dataloader.batch_size or 64,
        collate_fn=dataloader.collate_fn,
        generator=torch.Generator(),  # else it would draw from the global one
    )
    for done, data in enumerate(batches, 1):
        algorithm.read_split(data)
        if memory.full or not memory.wanted:
            ensemble.drop(source)
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
        if time.monotonic() - said > SAID:
            said = time.monotonic()
            left = (said - start) / done * (len(batches) - done)
            print_log(
                f"teachers' records of the validation split: {done}/{len(batches)} batches, eta "
                f'{left:.0f} s',
                'current',
            )
    print_log(
        f"teachers' records of the {len(dataset)} validation samples are kept "
        f'({memory.wanted / 2**20:.1f} MiB, {time.monotonic() - start:.1f} s): upper steps run no '
        'teacher',
        'current',
    )


def _with_views(config: Mapping[str, Any]) -> dict[str, Any]:
    """The loader's config, its data set built and, where it is deterministic, with views."""
    config = copy.deepcopy(dict(config))
    dataset = config.get('dataset')
    if isinstance(dataset, Mapping):
        dataset = DATASETS.build(dataset)
        if hasattr(dataset, 'full_init'):
            dataset.full_init()
    if dataset is not None and not getattr(dataset, 'takes_views', False) and len(dataset):
        # Items of a shape of their own raise: nothing is kept then.
        with contextlib.suppress(KeyError, TypeError, AttributeError, ValueError):
            if is_deterministic(dataset):
                dataset = Views(dataset, random=False)
    return {**config, 'dataset': dataset}
