"""Private names of torch and of Python's pickle, each behind a small function or a plain name."""

import contextlib
import pickle
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

__all__ = [
    'ConvBase',
    'PythonUnpickler',
    'apply_to_tensors',
    'copies',
    'forget_workers',
    'has_forward_hooks',
    'is_batch_norm',
    'norms',
    'observe_operators',
    'tensor_builders',
]

ConvBase = _ConvNd
"""What every convolution derives from."""
PythonUnpickler = pickle._Unpickler
"""The unpickler written in Python, whose steps a subclass may replace; the one in C allows none."""


def is_batch_norm(module: nn.Module) -> bool:
    """Whether a module is a BatchNorm of torch, of any number of dimensions, or derives from one.

    Args:
        module: Any module.

    Examples:
        >>> from torch import nn
        >>> is_batch_norm(nn.LazyBatchNorm2d()), is_batch_norm(nn.InstanceNorm2d(3))
        (True, False)
    """
    return isinstance(module, _BatchNorm)


def has_forward_hooks(module: nn.Module) -> bool:
    """Whether a forward hook or a forward pre-hook is registered on the module itself.

    Args:
        module: Any module; its children do not count.

    Examples:
        >>> from torch import nn
        >>> layer = nn.Linear(1, 1)
        >>> handle = layer.register_forward_hook(lambda *_: None)
        >>> has_forward_hooks(layer), has_forward_hooks(nn.Sequential(layer))
        (True, False)
    """
    return bool(module._forward_hooks or module._forward_pre_hooks)


def observe_operators(
    seen: Callable[[Iterable[Any]], None],
) -> contextlib.AbstractContextManager[Any]:
    """Show the arguments of every operator that torch runs inside a ``with`` block.

    An operator is what torch dispatches, below modules, functions and autograd: nothing that reads
    a tensor goes unseen.

    Args:
        seen: Called before each operator with the values of its arguments.

    Examples:
        >>> import torch
        >>> counts = []
        >>> with observe_operators(lambda arguments: counts.append(len(arguments))):
        ...     _ = torch.ones(2) + torch.ones(2)
        >>> counts[-1]
        2
    """

    class Observer(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is untyped
        def __torch_dispatch__(
            self,
            func: Callable[..., Any],
            types: tuple[type, ...],
            args: tuple[Any, ...] = (),
            kwargs: dict[str, Any] | None = None,
        ) -> Any:
            named = kwargs or {}
            seen((*args, *named.values()))
            return func(*args, **named)

    return Observer()  # type: ignore[no-untyped-call]  # as above


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
