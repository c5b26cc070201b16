"""One optimizer a student, one a θ, one backward for all students."""
import contextlib
from collections.abc import Iterator

import torch
from mmengine.dist import all_reduce
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn

from mmdynakd.functional import NoHypergradientError
from mmdynakd.registry import OPTIM_WRAPPERS

THETA = '.theta'


@OPTIM_WRAPPERS.register_module()
class BilevelOptimWrapper(OptimWrapperDict):
    """Steps the students of all lanes, and θ of those that search.

    Entries are named after the lanes (``search``), those of θ ``search.theta``; AMP, accumulation and clipping are
    each entry's own. Built by :class:`BilevelOptimWrapperConstructor`.

    Args:
        upper_interval: lower steps from one upper step to the next.
        warmup: lower steps before the first upper step; θ stays uniform.
        entries: the optim wrappers by name.
    """

    def __init__(self, upper_interval: int = 1, warmup: int = 0, **entries: OptimWrapper) -> None:
        super().__init__(**entries)
        if upper_interval < 1 or warmup < 0:
            raise ValueError(f'upper_interval must be >= 1 and warmup >= 0, got {upper_interval} and {warmup}')
        self.upper_interval, self.warmup = upper_interval, warmup

    @property
    def lanes(self) -> dict[str, OptimWrapper]:
        return {name: entry for name, entry in self.items() if not name.endswith(THETA)}

    @property
    def thetas(self) -> dict[str, OptimWrapper]:
        """θ's entries by lane."""
        return {name[:-len(THETA)]: entry for name, entry in self.items() if name.endswith(THETA)}

    def is_upper_step(self, iteration: int) -> bool:
        """Whether the upper step precedes lower step ``iteration`` (from 0)."""
        return iteration >= self.warmup and (iteration - self.warmup) % self.upper_interval == 0

    def upper_steps_before(self, iteration: int) -> int:
        """Number of upper steps up to lower step ``iteration``, exclusive."""
        return max(0, -((self.warmup - iteration) // self.upper_interval))

    def get_lr(self) -> dict[str, list[float]]:
        """Learning rates to log: one ``lr`` for students that share it, one ``theta.lr`` likewise, else one a lane."""
        rates = super().get_lr()
        for key, entries in (('lr', self.lanes), ('theta.lr', [name + THETA for name in self.thetas])):
            own = [rates[f'{name}.lr'] for name in entries]
            if own and all(rate == own[0] for rate in own):
                rates = {k: v for k, v in rates.items() if k[:-len('.lr')] not in entries}
                rates[key] = own[0]
        return rates

    def initialize_count_status(self, model: nn.Module, cur_iter: int, max_iters: int) -> None:
        for entry in self.lanes.values():
            entry.initialize_count_status(model, cur_iter, max_iters)
        upper, total = self.upper_steps_before(cur_iter), self.upper_steps_before(max_iters)
        for entry in self.thetas.values():
            entry.initialize_count_status(model, upper, total)

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """AMP and gradient synchronisation of the lower step; the lanes count alike, so that one speaks for all."""
        with next(iter(self.lanes.values())).optim_context(model):
            yield

    @contextlib.contextmanager
    def theta_context(self, model: nn.Module) -> Iterator[None]:
        with next(iter(self.thetas.values())).optim_context(model):
            yield

    def update_params(self, loss: dict[str, torch.Tensor]) -> None:
        """Lower step: one backward through all lanes, then each lane's optimizer.

        Args:
            loss: total loss by lane. Lanes share no trained parameter, so that each gets the gradient of its own.
        """
        _backward([(self[name], value) for name, value in loss.items()])
        for name in loss:
            _step(self[name])

    def update_theta(self, loss: dict[str, torch.Tensor], alpha: dict[str, nn.Parameter]) -> None:
        """Upper step: gradients reach α alone, averaged over the ranks; then each θ's optimizer."""
        thetas = self.thetas
        for name, value in loss.items():
            entry = thetas[name]
            local = alpha[name].grad
            alpha[name].grad = None
            _backward([(entry, value)], inputs=[alpha[name]])
            if alpha[name].grad is None:
                raise NoHypergradientError(f"lane '{name}': θ got no gradient from the upper loss; a loss of its "
                                           'distiller detaches the teacher: set its teacher_detach=False')
            all_reduce(alpha[name].grad, op='mean')
            if local is not None:  # of earlier, accumulated steps: averaged already
                alpha[name].grad += local
            _step(entry)


def _backward(losses: list[tuple[OptimWrapper, torch.Tensor]], **kwargs) -> None:
    """One backward for all, each loss under its own entry's accumulation and AMP scale.

    Stock ``OptimWrapper.backward`` would go backward once an entry, which DDP's reducer does not allow.
    """
    total = 0
    for entry, loss in losses:
        loss = entry.scale_loss(loss)
        scaler = getattr(entry, 'loss_scaler', None)
        total = total + (loss if scaler is None else scaler.scale(loss))
        entry._inner_count += 1  # what its own backward would count
    total.backward(**kwargs)


def _step(entry: OptimWrapper) -> None:
    if entry.should_update():
        entry.step()
        entry.zero_grad()
