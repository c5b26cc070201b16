"""Make a frozen network faster without changing its function: folding, casting, compiling."""

import collections
from collections.abc import Callable, Iterable
from typing import Any

import torch
from mmengine.logging import print_log
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from mmdynakd.compat import release
from mmdynakd.compat.torch_internals import has_forward_hooks, observe_operators
from mmdynakd.models.fast import Fast

# Exactly these classes: a subclass may compute something else with the same weights.
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm
Pair = tuple[Convolution, Norm]
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class _Trace:
    """What one run of a network shows: who ran, who read which tensor, and which pairs met."""

    def __init__(self) -> None:
        self.calls: collections.Counter[nn.Module] = collections.Counter()
        self.reads: collections.Counter[int] = collections.Counter()
        self.met: list[tuple[Convolution, Norm, torch.Tensor]] = []
        self._made: dict[int, tuple[Convolution, torch.Tensor]] = {}
        self._alive: list[torch.Tensor] = []  # so that no id is used twice

    def operator_runs(self, arguments: Iterable[Any]) -> None:
        for value in arguments:
            for tensor in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(tensor, torch.Tensor):
                    self.reads[id(tensor)] += 1
                    self._alive.append(tensor)

    def convolution_ran(self, module: Convolution, inputs: Any, output: torch.Tensor) -> None:
        self.calls[module] += 1
        self._made[id(output)] = (module, output)

    def norm_ran(self, module: Norm, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
        self.calls[module] += 1
        if id(inputs[0]) in self._made:
            convolution, tensor = self._made[id(inputs[0])]
            self.met.append((convolution, module, tensor))


@torch.no_grad()
def foldable_pairs(network: nn.Module, run: Callable[[], object]) -> list[Pair]:
    """Find the convolutions whose output is read by one BatchNorm and by nothing else.

    The network is run for that, because the names and the order of its modules do not say who
    reads what.

    Args:
        network: In eval mode.
        run: Runs the network on a small batch.

    Returns:
        These convolutions, each with its BatchNorm. Modules with hooks are left out.

    Examples:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU()).eval()
        >>> len(foldable_pairs(network, lambda: network(torch.zeros(1, 3, 4, 4))))
        1
    """
    trace, handles = _Trace(), []
    hooked = {module for module in network.modules() if has_forward_hooks(module)}
    for module in network.modules():
        if type(module) in CONVOLUTIONS:
            handles.append(module.register_forward_hook(trace.convolution_ran))
        elif type(module) in NORMS and module.track_running_stats:
            handles.append(module.register_forward_hook(trace.norm_ran))
    try:
        with observe_operators(trace.operator_runs):
            run()
    finally:
        for handle in handles:
            handle.remove()
    return [
        (convolution, norm)
        for convolution, norm, tensor in trace.met
        if trace.calls[convolution] == trace.calls[norm] == trace.reads[id(tensor)] == 1
        and not hooked & {convolution, norm}
    ]


def fold(network: nn.Module, run: Callable[[], object]) -> int:
    """Fold BatchNorm into the convolution before it, in place.

    ``w' = w γ / √(σ² + ε)``, ``b' = (b − μ) γ / √(σ² + ε) + β``: equal in exact arithmetic. Modules
    that a recorder is hooked to stay as they are.

    Args:
        network: In eval mode.
        run: Runs the network on a small batch.

    Returns:
        The number of BatchNorms that were folded.

    Examples:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)).eval()
        >>> fold(network, lambda: network(torch.zeros(1, 3, 4, 4)))
        1
        >>> network[1]
        Identity()
    """
    pairs = foldable_pairs(network, run)
    fused: dict[nn.Module, nn.Module] = {}
    for convolution, norm in pairs:
        fused[convolution] = fuse_conv_bn_eval(convolution, norm)
        fused[norm] = nn.Identity()
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if child in fused:
                setattr(parent, name, fused[child].requires_grad_(False).eval())
    return len(pairs)


def cast(network: nn.Module, dtype: torch.dtype) -> None:
    """Cast convolutions and linear layers once; autocast would cast them again in every step.

    Args:
        network: Changed in place. Its other layers keep their type.
        dtype: The new type of the weights.

    Examples:
        >>> network = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8))
        >>> cast(network, torch.bfloat16)
        >>> [layer.weight.dtype for layer in network]
        [torch.bfloat16, torch.float32]
    """
    for module in network.modules():
        if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)):
            module.to(dtype)


def compile_parts(network: nn.Module) -> list[str]:
    """Compile the network's direct parts that have convolutions, if no recorder looks into them.

    Args:
        network: Changed in place. The work is done when a part first runs.

    Returns:
        The names of these parts.

    Examples:
        >>> parts = dict(backbone=nn.Sequential(nn.Conv2d(3, 8, 1)), head=nn.Linear(8, 2))
        >>> compile_parts(nn.ModuleDict(parts))
        ['backbone']
    """
    names = []
    for name, part in network.named_children():
        inner = [module for module in part.modules() if module is not part]
        convolves = any(isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)) for module in inner)
        if convolves and not any(map(has_forward_hooks, inner)):
            # Module.compile would do this, but only from torch 2.2 on.
            part.forward = torch.compile(part.forward, options=_inductor_options(_device(part)))
            names.append(name)
    return names


def _inductor_options(device: torch.device) -> dict[str, Any]:
    """On a CPU, let inductor treat a frozen teacher's weights as constants, from torch 2.1 on."""
    freezes = device.type == 'cpu' and release(torch.__version__) >= (2, 1)
    return dict(freezing=True) if freezes else {}


def accelerate(name: str, network: nn.Module, fast: Fast, run: Callable[[], object]) -> None:
    """Make a teacher fast, in place.

    Call it when the teacher's weights are final and its recorders are hooked.

    Args:
        name: The teacher's name, for the log.
        network: The teacher, in eval mode.
        fast: What to do.
        run: Runs the teacher on a small batch.

    Examples:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)).eval()
        >>> accelerate('a', network, Fast(fold=True), lambda: network(torch.zeros(1, 3, 4, 4)))
        >>> type(network[1]).__name__
        'Identity'
    """
    done = []
    if fast.fold:
        done.append(f'{fold(network, run)} BatchNorm folded')
    fast.layout(network)
    if fast.torch_dtype:
        cast(network, fast.torch_dtype)
        done.append(str(fast.dtype))
    if fast.compile:
        done.append(f'compiled: {compile_parts(network)}')
    if done:
        print_log(f"teacher '{name}': {', '.join(done)}", 'current')


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
