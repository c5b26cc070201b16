"""Private names of torch and of Python's pickle, each behind a small function or a plain name."""

import pickle
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

__all__ = [
    'BatchNormBase',
    'ConvBase',
    'PythonUnpickler',
    'TorchDispatchMode',
    'apply_to_tensors',
    'copies',
    'forget_workers',
    'is_hooked',
    'norms',
    'tensor_builders',
]

BatchNormBase = _BatchNorm
"""What every BatchNorm derives from."""
ConvBase = _ConvNd
"""What every convolution derives from."""
PythonUnpickler = pickle._Unpickler
"""The unpickler written in Python, whose steps a subclass may replace; the one in C allows none."""


def is_hooked(module: nn.Module) -> bool:
    """Whether something is hooked to a module's forward pass.

    Examples:
        >>> layer = nn.Linear(1, 1)
        >>> is_hooked(layer)
        False
        >>> _ = layer.register_forward_hook(lambda *args: None)
        >>> is_hooked(layer)
        True
    """
    return bool(module._forward_hooks or module._forward_pre_hooks)


def apply_to_tensors(module: nn.Module, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Replace every parameter and buffer of a module by ``function`` of it, as ``.to()`` does.

    Examples:
        >>> layer = nn.Linear(1, 1)
        >>> apply_to_tensors(layer, lambda tensor: tensor.double())
        >>> layer.weight.dtype
        torch.float64
    """
    module._apply(function)  # type: ignore[no-untyped-call]  # torch's, untyped


def norms(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The 2-norm of each tensor, in few kernels.

    ``torch.nn.utils.get_total_norm`` is public, but gives one norm for all of them, and only from
    torch 2.6 on.

    Examples:
        >>> norms([torch.tensor([3.0, 4.0])])
        [tensor(5.)]
    """
    return list(torch._foreach_norm(list(tensors))) if tensors else []


def copies(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Copies of tensors, in few kernels where many have one type.

    Examples:
        >>> copies([torch.tensor([1.0, 2.0]), torch.tensor(True)])
        [tensor([1., 2.]), tensor(True)]
    """
    kinds: dict[torch.dtype, list[int]] = {}
    for place, tensor in enumerate(tensors):
        kinds.setdefault(tensor.dtype, []).append(place)
    found: dict[int, torch.Tensor] = {}
    for dtype, places in kinds.items():
        own = [tensors[place] for place in places]
        boolean = dtype is torch.bool  # cannot be multiplied
        made = [t.clone() for t in own] if boolean else list(torch._foreach_mul(own, 1))
        found.update(zip(places, made))
    return [found[place] for place in range(len(tensors))]


def forget_workers(loader: DataLoader[Any]) -> None:
    """Make a loader start new worker processes in its next round, even if they are persistent.

    Examples:
        >>> loader = DataLoader(range(4))
        >>> forget_workers(loader)
        >>> len(list(loader))
        4
    """
    loader._iterator = None


def tensor_builders() -> dict[str, Any]:
    """The functions by which a pickled tensor asks to be rebuilt, by the names that it uses.

    Examples:
        >>> sorted(tensor_builders())[0]
        'torch._utils._rebuild_parameter'
    """
    names = ('_rebuild_tensor', '_rebuild_tensor_v2', '_rebuild_parameter')
    return {f'torch._utils.{name}': getattr(torch._utils, name) for name in names}
