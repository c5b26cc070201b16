"""The one switch for speed, and what it means for a network and its inputs."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from mmdynakd.names import unknown_names

DTYPES = {None: None, 'bfloat16': torch.bfloat16}


@dataclass(frozen=True)
class Fast:
    """How students and teachers are computed; everything False or None is the plain path.

    Attributes:
        dtype: None, or ``'bfloat16'``: the step runs under autocast and the teachers' weights are
            cast once. Losses are taken in float32, of records that are brought back to it; weights
            and optimizers stay float32.
        channels_last: memory format of students, teachers and inputs.
        fold: the teachers' BatchNorm is folded into the convolution before it, see
            :mod:`.teachers.folding`.
        compile: the teachers' parts run through ``torch.compile`` (minutes at the first step; on a
            CPU it needs a C++ compiler), a part that a recorder looks into excepted.
    """

    dtype: str | None = None
    channels_last: bool = False
    fold: bool = False
    compile: bool = False

    @classmethod
    def parse(cls, value: 'str | Mapping | Fast | None') -> 'Fast':
        """None, ``'fp32'``, ``'bf16'`` or a dict of the attributes; raises ValueError for anything
        else.
        """
        if value is None or isinstance(value, cls):
            return value or cls()
        if isinstance(value, str) and value in ('fp32', 'bf16'):
            return cls(dtype='bfloat16' if value == 'bf16' else None, channels_last=True, fold=True)
        known = [field.name for field in fields(cls)]
        if not isinstance(value, Mapping) or set(value) - set(known):
            unknown = (
                f'; unknown: {unknown_names(value, known)}' if isinstance(value, Mapping) else ''
            )
            raise ValueError(
                f"fast must be None, 'fp32', 'bf16' or a dict with some of {known}, got {value!r}"
                f'{unknown}'
            )
        fast = cls(**value)
        if not isinstance(fast.dtype, (str, type(None))) or fast.dtype not in DTYPES:
            raise ValueError(f'fast.dtype must be one of {list(DTYPES)}, got {fast.dtype!r}')
        wrong = [key for key in known[1:] if not isinstance(getattr(fast, key), bool)]
        if wrong:
            raise ValueError(
                f'fast.{wrong[0]} must be True or False, got {getattr(fast, wrong[0])!r}'
            )
        return fast

    @property
    def torch_dtype(self) -> torch.dtype | None:
        return DTYPES[self.dtype]

    def layout(self, item: Any) -> Any:
        """A network (in place) or a (B, C, H, W) tensor in the memory format."""
        if not self.channels_last:
            return item
        if isinstance(item, nn.Module):
            return item.to(memory_format=torch.channels_last)
        return item.contiguous(memory_format=torch.channels_last) if item.dim() == 4 else item

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager:
        """Autocast to ``dtype``; without one, whatever autocast is around stays as it is."""
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=self.torch_dtype)


def plain_record(record: Any) -> Any:
    """A record as the plain path has it: half-precision tensors in float32, memory in row-major
    order.

    Differentiable. MMRazor's losses flatten features by ``view``, which channels_last does not
    allow.
    """
    if isinstance(record, (list, tuple)):
        return type(record)(map(plain_record, record))
    if not isinstance(record, torch.Tensor):
        return record
    record = record.float() if record.dtype in (torch.float16, torch.bfloat16) else record
    return record.contiguous() if record.dim() > 3 else record
