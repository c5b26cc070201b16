"""Where kept records lie: in memory, or in files that no interruption spoils."""

import contextlib
import json
import os
import os.path as osp
import shutil
import zlib
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log

from mmdynakd.errors import UnreachableError, UserError
from mmdynakd.files import patiently, read_json, remove_temporaries, whole, write_json

DTYPES = {'float16': torch.float16, 'float32': torch.float32}
STALE = 3600  # seconds after which what an interrupted process left half-made is removed


class StoreError(RuntimeError):
    """A store that cannot be used; the message names the file and the remedy."""


class MemoryShelf:
    """Rows of a split that every epoch sees alike, on the device of the teacher.

    Args:
        size: number of samples.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._known = np.zeros(size, dtype=bool)
        self._leaves: list[torch.Tensor] = []
        self.structure: Any = None

    def fetch(self, ids: np.ndarray, device: torch.device) -> tuple[np.ndarray, list[torch.Tensor]]:
        """Which of ``ids`` are known, (B,), and their rows."""
        known = self._known[ids]
        rows = torch.from_numpy(ids[known])
        return known, [
            leaf.index_select(0, rows.to(leaf.device)).to(device) for leaf in self._leaves
        ]

    def quantise(self, leaves: list[torch.Tensor]) -> list[torch.Tensor]:
        return leaves

    def keep(self, ids: np.ndarray, structure: Any, leaves: list[torch.Tensor]) -> None:
        if self.structure is None:
            self.structure = structure
            self._leaves = [leaf.new_zeros(len(self._known), *leaf.shape[1:]) for leaf in leaves]
        rows = torch.from_numpy(ids)
        for own, leaf in zip(self._leaves, leaves, strict=True):
            own.index_copy_(0, rows.to(own.device), leaf)
        self._known[ids] = True


class FileShelf:
    """Rows by view in memory-mapped files, one an epoch.

    A row is the CRC-32 of (view, payload), then the payload: a row that was never written, or not
    to its end, does not match and counts as unknown. ``key.json`` and ``layout.json`` are written
    whole or not at all, files of an epoch are made whole under another name; nothing in it is ever
    executed.

    Args:
        folder: where.
        key: what the records are a function of, compared in full with what the folder says.
        size: number of samples of the split.
        dtype: ``'float16'`` or ``'float32'``, of what is stored; what is served is in the records'
            own type.
        announce: called with the bytes a row takes, before the first one is written.

    Raises:
        StoreError: the folder holds something else, or cannot be made.
    """

    def __init__(
        self, folder: str, key: dict, size: int, dtype: str, announce=lambda row_bytes: None
    ) -> None:
        self.folder, self.size, self.dtype, self._announce = folder, size, dtype, announce
        self.structure: Any = None
        self.error = 0.0
        self.writable = True
        self._leaves: list[dict] = []
        self._epochs: dict[int, np.memmap | None] = {}
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
                f'{folder}/key.json tells of other teachers or data than its name: remove the '
                'folder'
            )
        with contextlib.suppress(OSError):
            remove_temporaries(folder, older_than=STALE)
        if osp.exists(osp.join(folder, 'layout.json')):
            self._load_layout()

    def fetch(self, ids: np.ndarray, device: torch.device) -> tuple[np.ndarray, list[torch.Tensor]]:
        """Which of the views ``ids`` are known, (B,), and their rows."""
        known = np.zeros(len(ids), dtype=bool)
        if self.structure is None:
            return known, []
        payload = np.zeros((len(ids), self._row), dtype=np.uint8)
        for epoch, at in _by_epoch(ids, self.size):
            rows = self._epoch(epoch, make=False)
            if rows is not None:
                payload[at] = rows[ids[at] % self.size]
        sums = payload[:, :4].copy().view(np.uint32)[:, 0]
        for i in np.flatnonzero(sums):
            known[i] = sums[i] == _checksum(ids[i], payload[i, 4:])
        return known, [leaf.to(device, non_blocking=True) for leaf in self._unpack(payload[known])]

    def quantise(self, leaves: list[torch.Tensor]) -> list[torch.Tensor]:
        """What will be read back.

        Raises:
            StoreError: where float16 cannot hold it.
        """
        stored = [leaf.to(self._stored(leaf)).to(leaf.dtype) for leaf in leaves]
        for old, new in zip(leaves, stored):
            if old.is_floating_point() and old.numel():
                if not torch.equal(torch.isfinite(old), torch.isfinite(new)):
                    raise StoreError(
                        f'{self.folder}: records beyond 65504 do not fit float16; '
                        "set model.store.dtype='float32'"
                    )
                self.error = max(self.error, float((old - new).abs().max()))
        return stored

    def keep(self, ids: np.ndarray, structure: Any, leaves: list[torch.Tensor]) -> None:
        """Writes the rows of ``ids``; where that fails the shelf is read-only from then on, and
        says so once.
        """
        if not self.writable:
            return
        try:
            if self.structure is None:
                self._make_layout(structure, leaves)
            payload = self._pack(ids, leaves)
            for epoch, at in _by_epoch(ids, self.size):
                self._epoch(epoch, make=True)[ids[at] % self.size] = payload[at]
        except OSError as error:
            self.writable = False
            print_log(
                f'{self.folder}: nothing is written any more ({error}); teachers run where nothing '
                'is kept',
                'current',
                30,
            )

    def _stored(self, leaf: torch.Tensor) -> torch.dtype:
        return DTYPES[self.dtype] if leaf.is_floating_point() else leaf.dtype

    def _make_layout(self, structure: Any, leaves: list[torch.Tensor]) -> None:
        entries = [
            dict(
                shape=list(leaf.shape[1:]),
                served=str(leaf.dtype).removeprefix('torch.'),
                stored=str(self._stored(leaf)).removeprefix('torch.'),
            )
            for leaf in leaves
        ]
        layout = dict(structure=structure, leaves=entries)
        self._use_layout(layout)
        self._announce(self._row)
        write_json(self.folder, 'layout.json', layout)

    def _load_layout(self) -> None:
        try:
            self._use_layout(self._read('layout.json'))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise StoreError(
                f'{self.folder}/layout.json is damaged ({error!r}): remove the folder'
            ) from error

    def _use_layout(self, layout: dict) -> None:
        self._leaves = [
            dict(
                shape=[int(side) for side in entry['shape']],
                served=_dtype(entry['served']),
                stored=_dtype(entry['stored']),
            )
            for entry in layout['leaves']
        ]
        self.structure = layout['structure']
        used = 4
        for leaf in self._leaves:
            leaf['bytes'] = torch.empty(0, dtype=leaf['stored']).element_size() * int(
                np.prod(leaf['shape'], dtype=int)
            )
            leaf['at'], used = used, used + leaf['bytes']
        self._row = -(-used // 8) * 8

    def _pack(self, ids: np.ndarray, leaves: list[torch.Tensor]) -> np.ndarray:
        payload = np.zeros((len(ids), self._row), dtype=np.uint8)
        for spec, leaf in zip(self._leaves, leaves, strict=True):
            values = leaf.detach().to('cpu', spec['stored']).contiguous().reshape(len(ids), -1)
            payload[:, spec['at'] : spec['at'] + spec['bytes']] = values.numpy().view(np.uint8)
        sums = np.array([_checksum(i, row) for i, row in zip(ids, payload[:, 4:])], dtype=np.uint32)
        payload[:, :4] = sums[:, None].view(np.uint8)
        return payload

    def _unpack(self, payload: np.ndarray) -> list[torch.Tensor]:
        if not len(payload):
            return [torch.empty(0, *spec['shape'], dtype=spec['served']) for spec in self._leaves]
        leaves = []
        for spec in self._leaves:
            raw = np.ascontiguousarray(payload[:, spec['at'] : spec['at'] + spec['bytes']])
            values = torch.from_numpy(raw).view(spec['stored']).to(spec['served'])
            leaves.append(values.reshape(len(payload), *spec['shape']))
        return leaves

    def _epoch(self, epoch: int, make: bool) -> np.memmap | None:
        """The rows of an epoch, (N, row); the file is made if ``make``, else None where there is
        none.
        """
        rows = self._epochs.get(epoch)
        if rows is None:
            path = osp.join(self.folder, f'epoch_{epoch:05d}.rows')
            intact = osp.exists(path) and osp.getsize(path) == self.size * self._row
            if not intact and make:
                _allocate(path, self.size * self._row)
            if intact or make:
                mode = 'r+' if os.access(path, os.W_OK) else 'r'
                rows = patiently(
                    lambda: np.memmap(
                        path, dtype=np.uint8, mode=mode, shape=(self.size, self._row)
                    ),
                    path,
                )
            while (
                len(self._epochs) > 1
            ):  # the validation split and this epoch: no more files stay open
                self._epochs.pop(next(iter(self._epochs)))
            self._epochs[epoch] = rows
        if make and rows.mode == 'r':
            raise PermissionError(f'{rows.filename} is read-only')
        return rows

    def _read(self, name: str) -> Any:
        try:
            return read_json(osp.join(self.folder, name))
        except UnreachableError as error:
            raise StoreError(str(error)) from error
        except UserError as error:
            raise StoreError(f'{error}: remove the folder') from error


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f'{name!r} is no dtype')
    return dtype


def _checksum(view: int, payload: np.ndarray) -> int:
    """CRC-32 of (view, payload); 0 is for rows that are not there."""
    return zlib.crc32(payload, zlib.crc32(int(view).to_bytes(8, 'little'))) or 1


def _by_epoch(ids: np.ndarray, size: int) -> list[tuple[int, np.ndarray]]:
    epochs = ids // size
    return [(int(epoch), np.flatnonzero(epochs == epoch)) for epoch in np.unique(epochs)]


def _allocate(path: str, length: int) -> None:
    """A file of zeros whose blocks are reserved: a full disk is an OSError now, not a crash in a
    later write.
    """
    with whole(path, overwrite=False) as temporary, open(temporary, 'wb') as file:
        if hasattr(os, 'posix_fallocate'):
            os.posix_fallocate(file.fileno(), 0, length)
        else:
            if shutil.disk_usage(osp.dirname(path)).free < length:
                raise OSError('the disk is full')
            file.truncate(length)
        if osp.exists(path) and osp.getsize(path) != length:
            print_log(f'{path} is cut short: it is made anew', 'current', 30)
            os.remove(path)
