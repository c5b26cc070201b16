"""Teachers' records that are computed once: by view, keyed by all that they are a function of."""

import hashlib
import json
import os
import os.path as osp
import shutil
from collections.abc import Callable, Mapping

import mmpretrain
import numpy as np
import torch
from mmengine.logging import print_log
from torch import nn

from mmdynakd.models.fast import Fast
from mmdynakd.models.samples import BatchViews
from mmdynakd.names import unknown_names
from mmdynakd.version import __version__

from .records import flatten, rebuild
from .shelves import DTYPES, FileShelf, MemoryShelf, StoreError

FORMAT = 1


class RecordStore:
    """What teachers recorded of a view (an augmented sample, see :class:`BatchViews`), kept for
    whoever sees it again.

    In memory it is for a split that every epoch sees alike; in files for every view, of this run
    and of later ones.

    Args:
        path: folder of the files; None keeps records in memory.
        dtype: ``'float16'`` or ``'float32'`` of what is stored in files. What is served is what is
            stored, from the first run on: so a later run is equal to the first one bit for bit, and
            with float32 to one without a store.
        limit: bytes that may be kept in memory; None does not limit.

    Attributes:
        wanted: bytes that records in memory take, or would take.
        full: whether that is beyond the limit; nothing is kept any more.

    Raises:
        ValueError: for another dtype, or no path.
        StoreError: the folder cannot be written.
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
        self._shelves: dict[tuple, MemoryShelf | FileShelf] = {}

    @classmethod
    def parse(cls, value: 'str | os.PathLike | Mapping | None') -> 'RecordStore | None':
        """From ``model.store``: None, a folder, or ``dict(path=…, dtype=…)``."""
        if value is None:
            return None
        value = value if isinstance(value, Mapping) else dict(path=value)
        unknown = unknown_names(value, ('path', 'dtype'))
        if (
            unknown
            or not isinstance(value.get('path'), (str, os.PathLike))
            or '\0' in str(value['path'])
        ):
            raise ValueError(
                "store must be a folder or dict(path='…', dtype='float16' or 'float32'), got "
                f'{value!r}'
                f'{f"; unknown: {unknown}" if unknown else ""}'
            )
        return cls(**value)

    def records(
        self,
        teacher: str,
        facts: dict,
        views: BatchViews,
        ids: torch.Tensor,
        device: torch.device,
        compute: Callable[[torch.Tensor | None], dict],
    ) -> dict:
        """The records of the views ``ids``: those that are kept, and for the others what
        ``compute`` gives.

        Args:
            teacher: name of the teacher.
            facts: what its records are a function of, beside the views, see :func:`teacher_facts`.
            views: of the batch: where the views are from.
            ids: (B,) those asked for.
            device: where the records go.
            compute: given the places in ``ids`` that must be computed, (k,), or None for all of
                them.
        """
        shelf, ids = self._shelf(teacher, facts, views), ids.numpy()
        known, stored = shelf.fetch(ids, device)
        if known.all():
            return rebuild(shelf.structure, stored)
        missing = torch.from_numpy(np.flatnonzero(~known))
        structure, fresh = flatten(compute(missing if known.any() else None))
        _check_rows(teacher, fresh, len(missing))
        fresh = shelf.quantise(fresh)
        if self._fits(shelf, fresh):
            shelf.keep(ids[~known], structure, fresh)
        if not known.any():
            return rebuild(structure, fresh)
        found = torch.from_numpy(np.flatnonzero(known))
        merged = [_merge(found, old, missing, new) for old, new in zip(stored, fresh, strict=True)]
        return rebuild(structure, merged)

    def _fits(self, shelf: MemoryShelf | FileShelf, leaves: list[torch.Tensor]) -> bool:
        if isinstance(shelf, MemoryShelf) and shelf.structure is None and not self.full:
            self.wanted += (
                sum(leaf[:1].numel() * leaf.element_size() for leaf in leaves) * shelf.size
            )
            self.full = self.limit is not None and self.wanted > self.limit
        return not self.full

    def error(self) -> float:
        """Largest distance between a record and what was stored of it, in this run."""
        return max(
            (shelf.error for shelf in self._shelves.values() if isinstance(shelf, FileShelf)),
            default=0.0,
        )

    def _shelf(self, teacher: str, facts: dict, views: BatchViews) -> MemoryShelf | FileShelf:
        known = (teacher, views.source, *facts['recorders'])
        if known not in self._shelves:
            if self.path is None:
                self._shelves[known] = MemoryShelf(views.size)
            else:
                key = dict(
                    format=FORMAT, dtype=self.dtype, data=views.source, size=views.size, **facts
                )
                name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
                self._shelves[known] = FileShelf(
                    osp.join(self.path, name),
                    key,
                    views.size,
                    self.dtype,
                    lambda row: self._announce(teacher, name, row, views.size),
                )
        return self._shelves[known]

    def _announce(self, teacher: str, name: str, row: int, size: int) -> None:
        planned = (
            f', up to {row * size * self.epochs / 1e9:.2f} GB for {self.epochs} epochs'
            if self.epochs
            else ''
        )
        free = shutil.disk_usage(self.path).free
        print_log(
            f"store {self.path}: teacher '{teacher}' keeps {row} bytes a view ({self.dtype}) in "
            f'{name}: '
            f'{row * size / 1e6:.1f} MB an epoch of {size} samples{planned}; {free / 1e9:.1f} GB '
            'are free',
            'current',
        )


def teacher_facts(network: nn.Module, recorders: list[str], fast: Fast) -> dict:
    """What a teacher's records are a function of, beside the pixels: for the key of a store.

    Args:
        network: the teacher, before it is folded or cast.
        recorders: keys of the recorders that it is asked for.
        fast: how it is computed: rounding differs.
    """
    weights = hashlib.sha256()
    for name, tensor in sorted(
        [*network.named_parameters(), *network.named_buffers()]
    ):  # mean and std are buffers
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
            f"teacher '{teacher}' records a tensor of shape {wrong[0]} of {count} samples: only "
            'records '
            'with a row a sample can be kept; set model.store=None (and train_cfg.upper_cache_mb=0)'
        )


def _merge(
    found: torch.Tensor, old: torch.Tensor, missing: torch.Tensor, new: torch.Tensor
) -> torch.Tensor:
    merged = new.new_empty(len(old) + len(new), *new.shape[1:])
    merged[found.to(new.device)] = old
    merged[missing.to(new.device)] = new
    return merged
