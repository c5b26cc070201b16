"""Batch normalization over the global batch, on any device and in both modes of differentiation."""

from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import nn

from mmdynakd.compat.torch_internals import is_batch_norm


class _Sum(torch.autograd.Function):
    """The sum over the ranks. Its derivative, in either mode, is the sum of the ranks' ones."""

    @staticmethod
    def forward(tensor: torch.Tensor) -> torch.Tensor:
        total = tensor.clone()
        all_reduce(total)
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        """Save nothing: the sum is linear."""

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return _sum(gradient)

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor) -> torch.Tensor:
        return _sum(tangent)


def _sum(tensor: torch.Tensor) -> torch.Tensor:
    total: torch.Tensor = _Sum.apply(tensor)  # type: ignore[no-untyped-call]  # torch's is untyped
    return total


class SyncBatchNorm(nn.Module):
    """What the synchronized BatchNorms have in common: statistics over all ranks' samples.

    In training, on several ranks, the statistics are those of the ranks' samples together, however
    many each rank has. They are computed in float32 at least, in two passes. In eval mode and on
    one rank the layer is torch's BatchNorm. Parameters, buffers and their names are always
    BatchNorm's.

    torch has a SyncBatchNorm too, but it runs only on GPUs and has no forward mode, which the
    unrolled objective needs.

    Examples:
        >>> norm = SyncBatchNorm2d(3)
        >>> isinstance(norm, SyncBatchNorm), isinstance(norm, nn.BatchNorm2d)
        (True, True)
        >>> tuple(norm(torch.randn(4, 3, 2, 2)).shape)
        (4, 3, 2, 2)
    """

    eps: float
    momentum: float | None
    affine: bool
    track_running_stats: bool
    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: torch.Tensor | None
    running_var: torch.Tensor | None
    num_batches_tracked: torch.Tensor | None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalize ``(B, C, ...)`` to the same shape and type.

        Args:
            input: This rank's samples.

        Raises:
            ValueError: In eval mode or on one rank, if the number of dimensions is wrong.
        """
        if not self.training or get_world_size() == 1:
            plain: torch.Tensor = super().forward(input)
            return plain
        x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        axes, shape = [0, *range(2, x.dim())], (1, -1, *[1] * (x.dim() - 2))
        sums = _sum(torch.cat([x.sum(axes), x.new_full((1,), x.numel() // x.size(1))]))
        count = sums[-1]
        mean = sums[:-1] / count
        centred = x - mean.view(shape)
        var = _sum(centred.square().sum(axes)) / count
        self._track(mean, var * count / (count - 1))
        scale = (var + self.eps).rsqrt()
        if self.affine:
            out = centred * (scale * self.weight).view(shape) + self.bias.view(shape)
        else:
            out = centred * scale.view(shape)
        return out.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: torch.Tensor, var: torch.Tensor) -> None:
        """Update the running statistics as BatchNorm does; ``var`` is the unbiased variance.

        The buffers are replaced, not changed in place, because functorch forbids that.
        """
        old_mean, old_var, count = self.running_mean, self.running_var, self.num_batches_tracked
        if not self.track_running_stats or old_mean is None or old_var is None or count is None:
            return
        count.add_(1)
        momentum = 1 / count.to(mean.dtype) if self.momentum is None else self.momentum
        self.running_mean = old_mean + momentum * (mean.detach() - old_mean)
        self.running_var = old_var + momentum * (var.detach() - old_var)


class SyncBatchNorm1d(SyncBatchNorm, nn.BatchNorm1d):
    """``nn.BatchNorm1d`` over the global batch, see :class:`SyncBatchNorm`.

    Examples:
        >>> tuple(SyncBatchNorm1d(3)(torch.randn(4, 3)).shape)
        (4, 3)
    """


class SyncBatchNorm2d(SyncBatchNorm, nn.BatchNorm2d):
    """``nn.BatchNorm2d`` over the global batch, see :class:`SyncBatchNorm`.

    Examples:
        >>> tuple(SyncBatchNorm2d(3)(torch.randn(4, 3, 2, 2)).shape)
        (4, 3, 2, 2)
    """


class SyncBatchNorm3d(SyncBatchNorm, nn.BatchNorm3d):
    """``nn.BatchNorm3d`` over the global batch, see :class:`SyncBatchNorm`.

    Examples:
        >>> tuple(SyncBatchNorm3d(3)(torch.randn(4, 3, 2, 2, 2)).shape)
        (4, 3, 2, 2, 2)
    """


SYNCHRONIZED: dict[type[nn.Module], type[SyncBatchNorm]] = {
    nn.BatchNorm1d: SyncBatchNorm1d,
    nn.BatchNorm2d: SyncBatchNorm2d,
    nn.BatchNorm3d: SyncBatchNorm3d,
}


def synchronize(module: nn.Module) -> None:
    """Turn every BatchNorm in ``module`` into a :class:`SyncBatchNorm`, in place.

    Args:
        module: A network; its parameters and buffers stay the same objects.

    Raises:
        ValueError: If it has a subclass of BatchNorm, which may compute something else.

    Examples:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8))
        >>> synchronize(network)
        >>> type(network[1]).__name__
        'SyncBatchNorm2d'
    """
    for name, child in module.named_modules():
        if type(child) in SYNCHRONIZED:
            child.__class__ = SYNCHRONIZED[type(child)]
        elif is_batch_norm(child) and not isinstance(child, (SyncBatchNorm, nn.SyncBatchNorm)):
            raise ValueError(
                f'sync_bn: {name} is a {type(child).__name__}, not one of '
                "torch's plain BatchNorms, so it cannot be synchronized: "
                'replace it, or set model.sync_bn=False'
            )
