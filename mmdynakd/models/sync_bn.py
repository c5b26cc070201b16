"""Batch normalisation over the global batch, on any device, in both modes of differentiation."""

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _Sum(torch.autograd.Function):
    """Sum over the ranks; each rank's derivative, backward or forward, is the sum of the ranks'
    derivatives.
    """

    @staticmethod
    def forward(tensor: torch.Tensor) -> torch.Tensor:
        total = tensor.clone()
        all_reduce(total)
        return total

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        """Linear: nothing is needed."""

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        return _Sum.apply(gradient)

    @staticmethod
    def jvp(ctx, tangent: torch.Tensor) -> torch.Tensor:
        return _Sum.apply(tangent)


class SyncBatchNorm(_BatchNorm):
    """``nn.BatchNorm*d`` whose statistics in training are those of the ranks' samples together,
    whatever their share.

    Parameters, buffers and names are those of BatchNorm. torch's own runs on GPUs alone and has no
    forward mode, which the unrolled objective needs. The statistics are taken in float32 at least,
    in two passes.
    """

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f'expected (B, C, ...), got {tuple(input.shape)}')

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or get_world_size() == 1:
            return super().forward(input)
        x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        axes, shape = [0, *range(2, x.dim())], (1, -1, *[1] * (x.dim() - 2))
        sums = _Sum.apply(torch.cat([x.sum(axes), x.new_full((1,), x.numel() // x.size(1))]))
        count = sums[-1]
        mean = sums[:-1] / count
        centred = x - mean.view(shape)
        var = _Sum.apply(centred.square().sum(axes)) / count
        self._track(mean, var * count / (count - 1))
        scale = (var + self.eps).rsqrt()
        if self.affine:
            out = centred * (scale * self.weight).view(shape) + self.bias.view(shape)
        else:
            out = centred * scale.view(shape)
        return out.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: torch.Tensor, var: torch.Tensor) -> None:
        """The running statistics, of the unbiased variance, as BatchNorm keeps them; anew, for
        functorch's sake.
        """
        if not self.track_running_stats:
            return
        self.num_batches_tracked.add_(1)
        momentum = (
            1 / self.num_batches_tracked.to(mean.dtype) if self.momentum is None else self.momentum
        )
        self.running_mean = self.running_mean + momentum * (mean.detach() - self.running_mean)
        self.running_var = self.running_var + momentum * (var.detach() - self.running_var)


def synchronize(module: nn.Module) -> None:
    """Makes every BatchNorm in ``module`` a :class:`SyncBatchNorm`, in place.

    Raises:
        ValueError: for a subclass of BatchNorm that computes something of its own.
    """
    for name, child in module.named_modules():
        if type(child) in PLAIN:
            child.__class__ = SyncBatchNorm
        elif isinstance(child, _BatchNorm) and not isinstance(
            child, (SyncBatchNorm, nn.SyncBatchNorm)
        ):
            raise ValueError(
                f'sync_bn: {name} is a {type(child).__name__}, which is no plain BatchNorm of torch'
            )
