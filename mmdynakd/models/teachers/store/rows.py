"""How the records of one view lie in a row of a store's file."""

import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch

Ids = npt.NDArray[np.int64]  # (B,) views
Known = npt.NDArray[np.bool_]  # (B,) which of them are known
Rows = npt.NDArray[np.uint8]  # (B, bytes of a row)


class Leaf(msgspec.Struct, frozen=True):
    """How one tensor of a record is kept, as ``layout.json`` says it.

    Attributes:
        shape: Shape of one sample's part.
        served: torch's name of the type that is served.
        stored: torch's name of the type in the file.

    Examples:
        >>> Leaf.of(torch.zeros(32, 10), stored=torch.float16)
        Leaf(shape=[10], served='float32', stored='float16')
    """

    shape: list[int]
    served: str
    stored: str

    @classmethod
    def of(cls, tensor: torch.Tensor, stored: torch.dtype) -> 'Leaf':
        """Describe a tensor with one row for each sample that is stored as another type."""
        return cls(list(tensor.shape[1:]), _name(tensor.dtype), _name(stored))


class Layout(msgspec.Struct, frozen=True):
    """What ``layout.json`` holds.

    Attributes:
        structure: Structure of a record, see :func:`~.records.flatten`.
        leaves: Its tensors in order.

    Examples:
        >>> msgspec.to_builtins(Layout(0, [Leaf([10], 'float32', 'float16')]))
        {'structure': 0, 'leaves': [{'shape': [10], 'served': 'float32', 'stored': 'float16'}]}
    """

    structure: Any
    leaves: list[Leaf]


class RowFormat:
    """A row: checksum, tensors without gaps, zeros up to a multiple of 8 bytes.

    The checksum is the CRC-32 of the view and of all bytes that follow it. So a row that was not
    written, or only in part, or that belongs to another view, is found out.

    Args:
        leaves: The tensors of a record.

    Attributes:
        dtype: numpy's structured type of a row, with fields ``checksum``, ``0``, ``1``, … and
            ``padding``.

    Raises:
        ValueError: If torch has no such type, or a row is larger than 2 GiB.
        TypeError: If numpy has no such type.

    Examples:
        >>> form = RowFormat([Leaf([5], 'float32', 'float16'), Leaf([], 'int64', 'int64')])
        >>> {name: offset for name, (_, offset) in form.dtype.fields.items()}
        {'checksum': 0, '0': 4, '1': 14, 'padding': 22}
        >>> ids = np.array([7])
        >>> rows = form.pack(ids, [torch.ones(1, 5), torch.tensor([3])])
        >>> rows.shape, form.intact(ids, rows), form.intact(ids + 1, rows)
        ((1, 24), array([ True]), array([False]))
        >>> form.unpack(rows)
        [tensor([[1., 1., 1., 1., 1.]]), tensor([3])]
    """

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        self._served = [_dtype(leaf.served) for leaf in leaves]
        self._stored = [_dtype(leaf.stored) for leaf in leaves]
        fields: list[Any] = [('checksum', np.uint32)]
        for index, leaf in enumerate(leaves):
            # numpy's type by way of torch's, so that a file cannot name a type of Python objects.
            stored = torch.empty(0, dtype=self._stored[index]).numpy().dtype
            fields.append((str(index), stored, tuple(leaf.shape)))
        padding = -np.dtype(fields).itemsize % 8
        self.dtype: np.dtype[np.void] = np.dtype([*fields, ('padding', np.uint8, (padding,))])

    def empty(self, count: int) -> Rows:
        """Return ``count`` rows of zeros: rows that were not written."""
        return np.zeros((count, self.dtype.itemsize), dtype=np.uint8)

    def pack(self, ids: Ids, leaves: Sequence[torch.Tensor]) -> Rows:
        """Make rows.

        Args:
            ids: (B,) views.
            leaves: The tensors of their records, B rows each.
        """
        rows = self.empty(len(ids))
        fields = self._fields(rows)
        for index, (stored, leaf) in enumerate(zip(self._stored, leaves, strict=True)):
            fields[str(index)] = leaf.detach().to('cpu', stored).numpy()
        fields['checksum'] = [_checksum(view, row) for view, row in zip(ids, rows)]
        return rows

    def intact(self, ids: Ids, rows: Rows) -> Known:
        """Say which rows are written, whole, and those of their views.

        Args:
            ids: (B,) views.
            rows: The rows read for them.
        """
        sums = self._fields(rows)['checksum']
        intact: Known = sums != 0
        for i in np.flatnonzero(intact):
            intact[i] = sums[i] == _checksum(ids[i], rows[i])
        return intact

    def unpack(self, rows: Rows) -> list[torch.Tensor]:
        """Return the tensors of rows, in the types that are served."""
        fields = self._fields(rows)
        return [
            torch.from_numpy(np.ascontiguousarray(fields[str(index)])).to(served)
            for index, served in enumerate(self._served)
        ]

    def _fields(self, rows: Rows) -> np.ndarray[Any, np.dtype[np.void]]:
        # The same memory. Rows are copied as bytes, which is faster than field by field.
        return rows.view(self.dtype)[:, 0]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix('torch.')


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f'{name!r} is not a dtype of torch')
    return dtype


def _checksum(view: int, row: npt.NDArray[np.uint8]) -> int:
    """Never 0, which marks rows that were not written."""
    return zlib.crc32(row[4:].data, zlib.crc32(int(view).to_bytes(8, 'little'))) or 1
