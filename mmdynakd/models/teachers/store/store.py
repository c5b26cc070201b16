"""Teachers' records that are computed once, and looked up by view afterwards."""

import hashlib
import json
import os
import os.path as osp
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import mmpretrain
import numpy as np
import torch
from mmengine.logging import print_log
from torch import nn

from mmdynakd.models.fast import Fast
from mmdynakd.models.samples import BatchViews
from mmdynakd.models.teachers.records import flatten, rebuild
from mmdynakd.names import unknown_names
from mmdynakd.version import __version__

from .shelves import DTYPES, FileShelf, MemoryShelf, StoreError

FORMAT = 1


class RecordStore:
    """Keeps what teachers recorded of a view (an augmented sample, see :class:`BatchViews`).

    A store in memory is for a split that every epoch sees alike. A store in files is for every
    view, of this run and of later ones.

    Args:
        path: Folder of the files; None keeps records in memory.
        dtype: ``'float16'`` or ``'float32'`` of what files hold. The teachers' records are served
            as they are stored, from the first run on. So a later run equals the first one bit for
            bit, and with float32 also one without a store.
        limit: Bytes that may be kept in memory; None sets no limit.

    Attributes:
        wanted: Bytes that the records in memory take, or would take.
        full: Whether that exceeds the limit; then nothing more is kept.
        epochs: How many epochs the run has, for a forecast of the disk space; None if unknown.

    Raises:
        ValueError: For another dtype.
        StoreError: If the folder cannot be written.

    Examples:
        >>> store, views = RecordStore(), BatchViews('val', 10, torch.tensor([0, 1]))
        >>> facts, device = dict(recorders=[]), torch.device('cpu')
        >>> def teacher(rows):
        ...     print('the teacher runs')
        ...     return {'outputs': [torch.zeros(2, 3)]}
        >>> for _ in range(2):
        ...     records = store.records('t', facts, views, views.ids, device, teacher)
        the teacher runs
        >>> store.wanted  # for 10 samples
        120
    """

    def __init__(
        self, path: str | None = None, dtype: str = 'float16', limit: int | None = None
    ) -> None:
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise ValueError(f'model.store.dtype must be one of {list(DTYPES)}, got {dtype!r}')
        self.path = None if path is None else osp.abspath(osp.expanduser(path))
        self.dtype = dtype
        self.limit, self.wanted, self.full = limit, 0, False
        self.epochs: int | None = None
        self._shelves: dict[tuple[str, ...], MemoryShelf | FileShelf] = {}

    @classmethod
    def parse(
        cls, value: 'str | os.PathLike[str] | Mapping[str, Any] | None'
    ) -> 'RecordStore | None':
        """Read the value of ``model.store`` in a config.

        Args:
            value: None, a folder, or ``dict(path=…, dtype=…)``.

        Raises:
            ValueError: If it is anything else.

        Examples:
            >>> RecordStore.parse(dict(path='records', dtype='float32')).dtype
            'float32'
        """
        if value is None:
            return None
        value = value if isinstance(value, Mapping) else dict(path=value)
        unknown = unknown_names(value, ('path', 'dtype'))
        path = value.get('path')
        if unknown or not isinstance(path, (str, os.PathLike)) or '\0' in str(path):
            raise ValueError(
                "store must be a folder or dict(path='…', dtype='float16' or 'float32'), got "
                f'{value!r}{f"; unknown: {unknown}" if unknown else ""}'
            )
        return cls(**value)

    def records(
        self,
        teacher: str,
        facts: Mapping[str, Any],
        views: BatchViews,
        ids: torch.Tensor,
        device: torch.device,
        compute: Callable[[torch.Tensor | None], dict[str, list[Any]]],
    ) -> dict[str, list[Any]]:
        """Return the records of views: those that are kept, and for the others what is computed.

        Args:
            teacher: Name of the teacher.
            facts: All that its records depend on besides the views, see :func:`teacher_facts`.
            views: Those of the batch, which say their source.
            ids: (B,) the views asked for.
            device: Where the records go.
            compute: Given the places in ``ids`` that must be computed, (k,), or None for all.

        Returns:
            ``{recorder key: list of records}`` of the B views.

        Raises:
            StoreError: If a record does not have one row per sample.
        """
        shelf, wanted = self._shelf(teacher, facts, views), ids.numpy()
        known, stored = shelf.fetch(wanted, device)
        if known.all():
            kept: dict[str, list[Any]] = rebuild(shelf.structure, stored)
            return kept
        missing = torch.from_numpy(np.flatnonzero(~known))
        structure, leaves = flatten(compute(missing if known.any() else None))
        _check_rows(teacher, leaves, len(missing))
        leaves = shelf.quantise(leaves)
        if self._fits(shelf, leaves):
            shelf.keep(wanted[~known], structure, leaves)
        if known.any():
            found = torch.from_numpy(np.flatnonzero(known))
            pairs = zip(stored, leaves, strict=True)
            leaves = [_merge(found, old, missing, new) for old, new in pairs]
        merged: dict[str, list[Any]] = rebuild(structure, leaves)
        return merged

    def _fits(self, shelf: MemoryShelf | FileShelf, leaves: list[torch.Tensor]) -> bool:
        if isinstance(shelf, MemoryShelf) and shelf.structure is None and not self.full:
            row = sum(leaf[:1].numel() * leaf.element_size() for leaf in leaves)
            self.wanted += row * shelf.size
            self.full = self.limit is not None and self.wanted > self.limit
        return not self.full

    def error(self) -> float:
        """Return the largest distance between a record and what was stored of it, in this run."""
        return max(
            (shelf.error for shelf in self._shelves.values() if isinstance(shelf, FileShelf)),
            default=0.0,
        )

    def _shelf(
        self, teacher: str, facts: Mapping[str, Any], views: BatchViews
    ) -> MemoryShelf | FileShelf:
        known = (teacher, views.source, *facts['recorders'])
        if known not in self._shelves:
            self._shelves[known] = (
                MemoryShelf(views.size)
                if self.path is None
                else self._file_shelf(self.path, teacher, facts, views)
            )
        return self._shelves[known]

    def _file_shelf(
        self, path: str, teacher: str, facts: Mapping[str, Any], views: BatchViews
    ) -> FileShelf:
        key = dict(format=FORMAT, dtype=self.dtype, data=views.source, size=views.size, **facts)
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
        folder = osp.join(path, name)
        return FileShelf(
            folder,
            key,
            views.size,
            self.dtype,
            lambda row: self._announce(teacher, folder, row, views.size),
        )

    def _announce(self, teacher: str, folder: str, row: int, size: int) -> None:
        planned = (
            f', up to {row * size * self.epochs / 1e9:.2f} GB for {self.epochs} epochs'
            if self.epochs
            else ''
        )
        path, name = osp.split(folder)
        print_log(
            f"store {path}: teacher '{teacher}' keeps {row} bytes per view ({self.dtype}) in "
            f'{name}: {row * size / 1e6:.1f} MB per epoch of {size} samples{planned}; '
            f'{shutil.disk_usage(path).free / 1e9:.1f} GB are free',
            'current',
        )


def teacher_facts(network: nn.Module, recorders: list[str], fast: Fast) -> dict[str, Any]:
    """Collect all that a teacher's records depend on besides the pixels, for the key of a store.

    Args:
        network: The teacher, before it is folded or cast.
        recorders: Keys of the recorders that are attached to it.
        fast: How it is computed, because rounding differs.

    Examples:
        >>> facts = teacher_facts(nn.Linear(2, 2), [], Fast())
        >>> sorted(facts)
        ['compute', 'network', 'preprocessor', 'recorders', 'versions', 'weights']
    """
    weights = hashlib.sha256()
    # mean and std of the preprocessor are buffers
    for name, tensor in sorted([*network.named_parameters(), *network.named_buffers()]):
        weights.update(f'{name} {tuple(tensor.shape)} {tensor.dtype}'.encode())
        weights.update(
            tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    preprocessor = getattr(network, 'data_preprocessor', None)
    settings = {
        key: value
        for key, value in vars(preprocessor or object).items()
        if isinstance(value, (bool, int, float, str)) and key != 'training'
    }
    return dict(
        weights=weights.hexdigest(),
        network=hashlib.sha256(repr(network).encode()).hexdigest(),
        preprocessor=settings,
        recorders=sorted(recorders),
        compute=vars(fast).copy(),
        versions=dict(mmdynakd=__version__, mmpretrain=mmpretrain.__version__),
    )


def _check_rows(teacher: str, leaves: list[torch.Tensor], count: int) -> None:
    wrong = [tuple(leaf.shape) for leaf in leaves if leaf.dim() == 0 or len(leaf) != count]
    if wrong:
        raise StoreError(
            f"teacher '{teacher}' records a tensor of shape {wrong[0]} for {count} samples, but "
            'only records with one row per sample can be kept; set model.store=None (and '
            'train_cfg.upper_cache_mb=0)'
        )


def _merge(
    found: torch.Tensor, old: torch.Tensor, missing: torch.Tensor, new: torch.Tensor
) -> torch.Tensor:
    merged = new.new_empty(len(old) + len(new), *new.shape[1:])
    merged[found.to(new.device)] = old
    merged[missing.to(new.device)] = new
    return merged
