"""Where kept records are: in memory, or in files that no interruption can spoil."""

import contextlib
import json
import os
import os.path as osp
import shutil
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from mmengine.logging import print_log

from mmdynakd.errors import UnreachableError, UserError
from mmdynakd.files import patiently, read_json, remove_temporaries, whole, write_json

from .rows import Ids, Known, Layout, Leaf, RowFormat, Rows

DTYPES = {'float16': torch.float16, 'float32': torch.float32}
STALE = 3600  # seconds after which the half-made files of an interrupted process are removed


class StoreError(RuntimeError):
    """A store cannot be used. The message names the file and the remedy.

    Examples:
        >>> raise StoreError('store/layout.json is damaged: remove the folder')
        Traceback (most recent call last):
        StoreError: store/layout.json is damaged: remove the folder
    """


class MemoryShelf:
    """Rows of a split that is the same in every epoch, on the device of the teacher.

    Args:
        size: Number of samples of the split.

    Attributes:
        structure: Structure of the records, see :func:`~.records.flatten`. None at first.

    Examples:
        >>> shelf = MemoryShelf(size=4)
        >>> shelf.keep(np.array([1, 2]), 0, [torch.tensor([10.0, 20.0])])
        >>> shelf.fetch(np.array([2, 3]), torch.device('cpu'))
        (array([ True, False]), [tensor([20.])])
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._known = np.zeros(size, dtype=bool)
        self._leaves: list[torch.Tensor] = []
        self.structure: Any = None

    def fetch(self, ids: Ids, device: torch.device) -> tuple[Known, list[torch.Tensor]]:
        """Read the rows that are known.

        Args:
            ids: (B,) views.
            device: Where the rows go.

        Returns:
            Which views are known, (B,), and for each tensor of a record the rows of those.
        """
        known = self._known[ids]
        rows = torch.from_numpy(ids[known])
        return known, [
            leaf.index_select(0, rows.to(leaf.device)).to(device) for leaf in self._leaves
        ]

    def quantise(self, leaves: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return the tensors as they will be read back: here, unchanged."""
        return leaves

    def keep(self, ids: Ids, structure: Any, leaves: list[torch.Tensor]) -> None:
        """Store rows.

        Args:
            ids: (k,) views.
            structure: Structure of the records.
            leaves: The tensors of the records, k rows each.
        """
        if self.structure is None:
            self.structure = structure
            self._leaves = [leaf.new_zeros(len(self._known), *leaf.shape[1:]) for leaf in leaves]
        rows = torch.from_numpy(ids)
        for own, leaf in zip(self._leaves, leaves, strict=True):
            own.index_copy_(0, rows.to(own.device), leaf)
        self._known[ids] = True


class FileShelf:
    """Rows for each view in memory-mapped files, one file for each epoch.

    A row that was never written, or only in part, does not match its checksum and counts as
    unknown, see :class:`~.rows.RowFormat`. ``key.json`` and ``layout.json`` are written
    whole or not at all, and the file of an epoch is complete before it gets its name. Nothing in
    the folder is ever executed.

    Args:
        folder: Where the files are.
        key: What the records depend on. It must equal what the folder says.
        size: Number of samples of the split.
        dtype: ``'float16'`` or ``'float32'``: how floats are stored. What is served has the
            records' own type.
        announce: Called with the bytes of a row, before the first row is written.

    Attributes:
        structure: Structure of the records, see :func:`~.records.flatten`. None before the first.
        error: Largest difference so far between a record and what was stored of it.
        writable: False once a write has failed.

    Raises:
        StoreError: If the folder holds something else, or cannot be made.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     shelf = FileShelf(folder, dict(data='cifar'), size=4, dtype='float16')
        ...     shelf.keep(np.array([1, 2]), 0, [torch.tensor([10.0, 20.0])])
        ...     again = FileShelf(folder, dict(data='cifar'), size=4, dtype='float16')
        ...     again.fetch(np.array([2, 3]), torch.device('cpu'))
        (array([ True, False]), [tensor([20.])])
    """

    def __init__(
        self,
        folder: str,
        key: Mapping[str, Any],
        size: int,
        dtype: str,
        announce: Callable[[int], None] = lambda row_bytes: None,
    ) -> None:
        self.folder, self.size, self.dtype, self._announce = folder, size, dtype, announce
        self.structure: Any = None
        self.error = 0.0
        self.writable = True
        self._format = RowFormat([])
        self._epochs: dict[int, Rows] = {}
        try:
            os.makedirs(folder, exist_ok=True)
            if not osp.exists(osp.join(folder, 'key.json')):
                write_json(folder, 'key.json', key)
        except OSError as error:
            raise StoreError(
                f'{folder} cannot be written ({error}): set model.store.path to another folder, or '
                'model.store to None'
            ) from error
        if self._read('key.json') != json.loads(json.dumps(key)):
            raise StoreError(
                f'{folder}/key.json names other teachers or data than the name of its folder: '
                'remove the folder'
            )
        with contextlib.suppress(OSError):
            remove_temporaries(folder, older_than=STALE)
        if osp.exists(osp.join(folder, 'layout.json')):
            self._load_layout()

    def fetch(self, ids: Ids, device: torch.device) -> tuple[Known, list[torch.Tensor]]:
        """Read the rows that are known.

        Args:
            ids: (B,) views.
            device: Where the rows go.

        Returns:
            Which views are known, (B,), and for each tensor of a record the rows of those.
        """
        if self.structure is None:
            return np.zeros(len(ids), dtype=bool), []
        found = self._format.empty(len(ids))
        for epoch, at in _by_epoch(ids, self.size):
            rows = self._opened(epoch)
            if rows is not None:
                found[at] = rows[ids[at] % self.size]
        known = self._format.intact(ids, found)
        leaves = self._format.unpack(found[known])
        return known, [leaf.to(device, non_blocking=True) for leaf in leaves]

    def quantise(self, leaves: list[torch.Tensor]) -> list[torch.Tensor]:
        """Round the tensors to what will be read back.

        Args:
            leaves: The tensors of the records.

        Returns:
            The same tensors with the precision of the file, in their own types.

        Raises:
            StoreError: If a number does not fit into float16.
        """
        stored = [leaf.to(self._stored(leaf)).to(leaf.dtype) for leaf in leaves]
        for old, new in zip(leaves, stored):
            if old.is_floating_point() and old.numel():
                if not torch.equal(torch.isfinite(old), torch.isfinite(new)):
                    raise StoreError(
                        f'{self.folder}: records beyond 65504 do not fit into float16: '
                        "set model.store.dtype='float32'"
                    )
                self.error = max(self.error, float((old - new).abs().max()))
        return stored

    def keep(self, ids: Ids, structure: Any, leaves: list[torch.Tensor]) -> None:
        """Write rows. If that fails, say so once and write nothing from then on.

        Args:
            ids: (k,) views.
            structure: Structure of the records.
            leaves: The tensors of the records, k rows each.
        """
        if not self.writable:
            return
        try:
            if self.structure is None:
                self._make_layout(structure, leaves)
            rows = self._format.pack(ids, leaves)
            for epoch, at in _by_epoch(ids, self.size):
                self._made(epoch)[ids[at] % self.size] = rows[at]
        except OSError as error:
            self.writable = False
            print_log(
                f'{self.folder}: nothing more is written ({error}); '
                'teachers run again for views that it lacks',
                'current',
                30,
            )

    def _stored(self, leaf: torch.Tensor) -> torch.dtype:
        return DTYPES[self.dtype] if leaf.is_floating_point() else leaf.dtype

    def _make_layout(self, structure: Any, leaves: list[torch.Tensor]) -> None:
        layout = Layout(structure, [Leaf.of(leaf, self._stored(leaf)) for leaf in leaves])
        self._use_layout(layout)
        self._announce(self._format.dtype.itemsize)
        write_json(self.folder, 'layout.json', msgspec.to_builtins(layout))

    def _load_layout(self) -> None:
        try:
            self._use_layout(msgspec.convert(self._read('layout.json'), Layout))
        except (msgspec.ValidationError, TypeError, ValueError) as error:
            raise StoreError(
                f'{self.folder}/layout.json is damaged ({error}): remove the folder'
            ) from error

    def _use_layout(self, layout: Layout) -> None:
        self._format = RowFormat(layout.leaves)
        self.structure = layout.structure

    def _path(self, epoch: int) -> str:
        return osp.join(self.folder, f'epoch_{epoch:05d}.rows')

    def _opened(self, epoch: int) -> Rows | None:
        """The rows of an epoch, mapped from its file; None if there is no whole file."""
        if epoch in self._epochs:
            return self._epochs[epoch]
        path, shape = self._path(epoch), (self.size, self._format.dtype.itemsize)
        if not osp.exists(path) or osp.getsize(path) != shape[0] * shape[1]:
            return None
        mode: Literal['r', 'r+'] = 'r+' if os.access(path, os.W_OK) else 'r'
        rows = patiently(lambda: np.memmap(path, np.uint8, mode, shape=shape), path)
        # Two files stay open: one of the validation split and one of the epoch that is trained.
        while len(self._epochs) > 1:
            self._epochs.pop(next(iter(self._epochs)))
        self._epochs[epoch] = rows
        return rows

    def _made(self, epoch: int) -> Rows:
        """The rows of an epoch, to write into; the file is made if there is none.

        Raises:
            OSError: If that is not possible.
        """
        path = self._path(epoch)
        if self._opened(epoch) is None:
            _allocate(path, self.size * self._format.dtype.itemsize)
        rows = self._opened(epoch)
        if rows is None or not rows.flags.writeable:
            raise PermissionError(f'{path} is read-only')
        return rows

    def _read(self, name: str) -> Any:
        try:
            return read_json(osp.join(self.folder, name))
        except UnreachableError as error:
            raise StoreError(str(error)) from error
        except UserError as error:
            raise StoreError(f'{error}: remove the folder') from error


def _by_epoch(ids: Ids, size: int) -> list[tuple[int, npt.NDArray[np.intp]]]:
    """The epochs of views, each with the places in ``ids`` that are its own."""
    epochs = ids // size
    return [(int(epoch), np.flatnonzero(epochs == epoch)) for epoch in np.unique(epochs)]


def _allocate(path: str, length: int) -> None:
    """Make a file of zeros and reserve its blocks.

    A full disk is then an OSError here, not a crash when the mapped memory is written.
    """
    with whole(path, overwrite=False) as temporary, open(temporary, 'wb') as file:
        if hasattr(os, 'posix_fallocate'):
            os.posix_fallocate(file.fileno(), 0, length)
        else:
            if shutil.disk_usage(osp.dirname(path)).free < length:
                raise OSError('the disk is full')
            file.truncate(length)
        if osp.exists(path) and osp.getsize(path) != length:
            print_log(f'{path} does not have its full length: it is replaced', 'current', 30)
            os.remove(path)
