"""The one switch for speed, and what it means for a network and its inputs."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
from torch import nn

from mmdynakd.names import unknown_names

DTYPES = {None: None, 'bfloat16': torch.bfloat16}
PRESETS = ('fp32', 'bf16')

LayoutT = TypeVar('LayoutT', nn.Module, torch.Tensor)


@dataclass(frozen=True)
class Fast:
    """How students and teachers are computed. The defaults are the plain path.

    Attributes:
        dtype: None or ``'bfloat16'``. With the latter, the step runs under autocast and the
            teachers' weights are cast once. Losses are computed in float32, from records that are
            cast back to it. Weights and optimizers stay in float32.
        channels_last: Use this memory format for students, teachers and inputs.
        fold: Fold each teacher's BatchNorm into the convolution before it, see
            :mod:`.teachers.folding`.
        compile: Run the teachers' parts through ``torch.compile``, except parts that a recorder
            looks into. This takes minutes at the first step. On a CPU it needs a C++ compiler.

    Examples:
        >>> Fast.parse('bf16')
        Fast(dtype='bfloat16', channels_last=True, fold=True, compile=False)
    """

    dtype: str | None = None
    channels_last: bool = False
    fold: bool = False
    compile: bool = False

    @classmethod
    def parse(cls, value: 'str | Mapping[str, Any] | Fast | None') -> 'Fast':
        """Read the value of ``model.fast`` in a config.

        Args:
            value: None for the plain path, ``'fp32'``, ``'bf16'``, or a dict of the attributes.

        Raises:
            ValueError: If it is anything else.

        Examples:
            >>> Fast.parse(dict(fold=True)).fold
            True
        """
        if value is None or isinstance(value, cls):
            return value or cls()
        if isinstance(value, str) and value in PRESETS:
            return cls(dtype='bfloat16' if value == 'bf16' else None, channels_last=True, fold=True)
        known = [field.name for field in fields(cls)]
        if not isinstance(value, Mapping):
            raise ValueError(_expected(known, value))
        unknown = unknown_names(value, known)
        if unknown:
            raise ValueError(f'{_expected(known, value)}; unknown: {unknown}')
        fast = cls(**value)
        if not isinstance(fast.dtype, str | None) or fast.dtype not in DTYPES:
            raise ValueError(f'fast.dtype must be one of {list(DTYPES)}, got {fast.dtype!r}')
        for key in known[1:]:
            if not isinstance(getattr(fast, key), bool):
                raise ValueError(f'fast.{key} must be True or False, got {getattr(fast, key)!r}')
        return fast

    @property
    def torch_dtype(self) -> torch.dtype | None:
        """``dtype`` as torch's."""
        return DTYPES[self.dtype]

    def layout(self, item: LayoutT) -> LayoutT:
        """Bring a network or a tensor into the memory format.

        Args:
            item: A network, changed in place, or a tensor; only (B, C, H, W) tensors change.

        Returns:
            The same network, or a tensor of the same values.

        Examples:
            >>> images = Fast(channels_last=True).layout(torch.zeros(2, 3, 4, 4))
            >>> images.stride()
            (48, 1, 12, 3)
        """
        if not self.channels_last:
            return item
        if isinstance(item, nn.Module):
            # The stubs of torch lack this form of Module.to, which its documentation has.
            item.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            return item
        return item.contiguous(memory_format=torch.channels_last) if item.dim() == 4 else item

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """Autocast to ``dtype``. Without a dtype, an autocast around the call stays in force.

        Args:
            device: Where the computation runs.

        Examples:
            >>> with Fast(dtype='bfloat16').autocast(torch.device('cpu')):
            ...     (torch.ones(1, 1) @ torch.ones(1, 1)).dtype
            torch.bfloat16
        """
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=self.torch_dtype)


def _expected(known: list[str], value: object) -> str:
    return f"fast must be None, 'fp32', 'bf16' or a dict with some of {known}, got {value!r}"


def plain_record(record: Any) -> Any:
    """Bring a record to the form that the plain path gives it. Differentiable.

    Half-precision tensors become float32, and memory becomes row-major: MMRazor's losses flatten
    features with ``view``, which does not work on channels_last.

    Args:
        record: A tensor, a nested list or tuple of tensors, or anything else.

    Returns:
        The same structure. What needs no change is returned as it is.

    Examples:
        >>> plain_record([torch.ones(2, dtype=torch.bfloat16), 'name'])
        [tensor([1., 1.]), 'name']
    """
    if isinstance(record, (list, tuple)):
        return type(record)(map(plain_record, record))
    if not isinstance(record, torch.Tensor):
        return record
    record = record.float() if record.dtype in (torch.float16, torch.bfloat16) else record
    return record.contiguous() if record.dim() > 3 else record
