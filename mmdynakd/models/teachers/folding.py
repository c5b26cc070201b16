"""What makes a frozen network faster and leaves what it computes: folding, casting, compiling."""

import collections

import torch
from mmengine.logging import print_log
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode

from mmdynakd.compat import release
from mmdynakd.models.fast import Fast

# These very classes: what derives from them may compute something else with the same weights.
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class _Readers(TorchDispatchMode):
    """Counts how often each tensor is read by an operator; keeps them alive, so that no id is used
    twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count: collections.Counter = collections.Counter()
        self._alive: list = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        for value in (*args, *kwargs.values()):
            for tensor in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(tensor, torch.Tensor):
                    self.count[id(tensor)] += 1
                    self._alive.append(tensor)
        return func(*args, **kwargs)


@torch.no_grad()
def foldable_pairs(network: nn.Module, run) -> list[tuple[nn.Module, nn.Module]]:
    """Convolutions whose output is read by one BatchNorm and by nothing else, with that BatchNorm.

    Found by running the network: names and order of its modules say nothing about who reads what.

    Args:
        network: in eval mode.
        run: a function without arguments that runs it on a small batch.
    """
    made, calls, pairs, handles = {}, collections.Counter(), [], []

    def conv_ran(module, inputs, output):
        calls[module] += 1
        made[id(output)] = (module, output)

    def norm_ran(module, inputs, output):
        calls[module] += 1
        conv, tensor = made.get(id(inputs[0]), (None, None))
        if conv is not None:
            pairs.append((conv, module, tensor))

    watched = {
        module: bool(module._forward_hooks or module._forward_pre_hooks)
        for module in network.modules()
    }
    for module in network.modules():
        if type(module) in CONVOLUTIONS:
            handles.append(module.register_forward_hook(conv_ran))
        elif type(module) in NORMS and module.track_running_stats:
            handles.append(module.register_forward_hook(norm_ran))
    try:
        with _Readers() as readers:
            run()
    finally:
        for handle in handles:
            handle.remove()
    return [
        (conv, norm)
        for conv, norm, tensor in pairs
        if calls[conv] == calls[norm] == 1
        and readers.count[id(tensor)] == 1
        and not watched[conv]
        and not watched[norm]
    ]


def fold(network: nn.Module, run) -> int:
    """Folds BatchNorm into the convolution before it, in place; returns how many were folded.

    ``w' = w γ / √(σ² + ε)``, ``b' = (b − μ) γ / √(σ² + ε) + β``: equal in exact arithmetic. Modules
    that a recorder is hooked to stay as they are.
    """
    pairs = foldable_pairs(network, run)
    fused = {}
    for conv, norm in pairs:
        fused[conv] = fuse_conv_bn_eval(conv, norm)
        fused[norm] = nn.Identity()
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if child in fused:
                setattr(parent, name, fused[child].requires_grad_(False).eval())
    return len(pairs)


def cast(network: nn.Module, dtype: torch.dtype) -> None:
    """Convolutions and linear maps to ``dtype``, which autocast would otherwise cast again in every
    step.
    """
    for module in network.modules():
        if isinstance(module, (_ConvNd, nn.Linear)):
            module.to(dtype)


def compile_parts(network: nn.Module) -> list[str]:
    """Compiles the network's direct parts that no recorder looks into; returns their names."""
    names = []
    for name, part in network.named_children():
        inner = [module for module in part.modules() if module is not part]
        hooked = any(module._forward_hooks or module._forward_pre_hooks for module in inner)
        if not hooked and any(isinstance(module, _ConvNd) for module in inner):
            part.forward = torch.compile(part.forward, options=_inductor_options(_device(part)))
            names.append(name)
    return names


def _inductor_options(device: torch.device) -> dict:
    """On a CPU a frozen teacher's weights are constants to inductor, which knows these from torch
    2.1 on.
    """
    return (
        dict(freezing=True) if device.type == 'cpu' and release(torch.__version__) >= (2, 1) else {}
    )


def accelerate(name: str, network: nn.Module, fast: Fast, run) -> None:
    """Makes teacher ``name`` fast, in place, once its recorders are hooked and its weights are
    final.

    Args:
        name: for the log.
        network: the teacher.
        fast: what to do.
        run: a function without arguments that runs the teacher on a small batch.
    """
    done = []
    if fast.fold:
        done.append(f'{fold(network, run)} BatchNorm folded')
    fast.layout(network)
    if fast.dtype:
        cast(network, fast.torch_dtype)
        done.append(fast.dtype)
    if fast.compile:
        done.append(f'compiled: {compile_parts(network)}')
    if done:
        print_log(f"teacher '{name}': {', '.join(done)}", 'current')


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
