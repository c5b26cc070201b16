"""One optimizer a student, one a θ, one backward for all students."""

import contextlib
from collections.abc import Iterable, Iterator

import torch
from mmengine.dist import all_reduce
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn

from mmdynakd.entries import GUARD, is_theta, lane_of, theta_entry
from mmdynakd.functional import NoHypergradientError
from mmdynakd.registry import OPTIM_WRAPPERS

from .guard import MAX_SKIPPED, StepGuard


@OPTIM_WRAPPERS.register_module()
class BilevelOptimWrapper(OptimWrapperDict):
    """Steps the students of all lanes, and θ of those that search.

    Entries are named after the lanes (``search``), those of θ ``search.theta``; AMP, accumulation
    and clipping are each entry's own. Built by :class:`BilevelOptimWrapperConstructor`.

    Args:
        upper_interval: lower steps from one upper step to the next.
        warmup: lower steps before the first upper step; θ stays uniform.
        max_skipped: a step whose loss or gradient is not finite is skipped, as if its batch had not
            come; a loop stops after so many in a row of one entry. None or 0 takes every step, and
            saves copying the students' buffers (BatchNorm's) and reading one number from the device
            a step.
        entries: the optim wrappers by name.
    """

    def __init__(
        self,
        upper_interval: int = 1,
        warmup: int = 0,
        max_skipped: int | None = MAX_SKIPPED,
        **entries: OptimWrapper,
    ) -> None:
        super().__init__(**entries)
        if upper_interval < 1 or warmup < 0:
            raise ValueError(
                f'upper_interval must be >= 1 and warmup >= 0, got {upper_interval} and {warmup}'
            )
        self.upper_interval, self.warmup = upper_interval, warmup
        self.guard = StepGuard(max_skipped) if max_skipped else None

    @property
    def lanes(self) -> dict[str, OptimWrapper]:
        return {name: entry for name, entry in self.items() if not is_theta(name)}

    @property
    def thetas(self) -> dict[str, OptimWrapper]:
        """θ's entries by lane."""
        return {lane_of(name): entry for name, entry in self.items() if is_theta(name)}

    def is_upper_step(self, iteration: int) -> bool:
        """Whether the upper step precedes lower step ``iteration`` (from 0)."""
        return iteration >= self.warmup and (iteration - self.warmup) % self.upper_interval == 0

    def upper_steps_before(self, iteration: int) -> int:
        """Number of upper steps up to lower step ``iteration``, exclusive."""
        return max(0, -((self.warmup - iteration) // self.upper_interval))

    def get_lr(self) -> dict[str, list[float]]:
        """Learning rates to log: one ``lr`` for students that share it, one ``theta.lr`` likewise,
        else one a lane.
        """
        rates = super().get_lr()
        for key, entries in (
            ('lr', self.lanes),
            ('theta.lr', [theta_entry(lane) for lane in self.thetas]),
        ):
            own = [rates[f'{name}.lr'] for name in entries]
            if own and all(rate == own[0] for rate in own):
                rates = {k: v for k, v in rates.items() if k[: -len('.lr')] not in entries}
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
        """AMP and gradient synchronisation of the lower step; the lanes count alike, so that one
        speaks for all.
        """
        self._watch(model, self.lanes)
        with next(iter(self.lanes.values())).optim_context(model):
            yield

    @contextlib.contextmanager
    def theta_context(self, model: nn.Module) -> Iterator[None]:
        self._watch(model, self.thetas)
        with next(iter(self.thetas.values())).optim_context(model):
            yield

    def _watch(self, model: nn.Module, names: Iterable[str]) -> None:
        algorithm = model.module if is_model_wrapper(model) else model
        if self.guard is not None and hasattr(algorithm, 'lanes'):
            self.guard.watch(algorithm, {name: algorithm.lanes[name] for name in names})

    def update_params(self, loss: dict[str, torch.Tensor]) -> None:
        """Lower step: one backward through all lanes, then each lane's optimizer.

        Args:
            loss: total loss by lane. Lanes share no trained parameter, so that each gets the
                gradient of its own.
        """
        _backward([(self[name], value) for name, value in loss.items()])
        self._step(loss)

    def update_theta(
        self, loss: dict[str, torch.Tensor], alpha: dict[str, nn.Parameter]
    ) -> set[str]:
        """Upper step: gradients reach α alone, averaged over the ranks; then each θ's optimizer.

        Returns:
            The lanes whose batch was not finite, so that it moves no θ.
        """
        thetas = self.thetas
        for name, value in loss.items():
            entry = thetas[name]
            local = alpha[name].grad
            alpha[name].grad = None
            _backward([(entry, value)], inputs=[alpha[name]])
            if alpha[name].grad is None:
                raise NoHypergradientError(
                    f"lane '{name}': θ got no gradient from the upper loss; a loss of its "
                    'distiller detaches the teacher: set its teacher_detach=False'
                )
            all_reduce(alpha[name].grad, op='mean')
            if local is not None:  # of earlier, accumulated steps: averaged already
                alpha[name].grad += local
        return {
            lane_of(entry)
            for entry in self._step({theta_entry(lane): value for lane, value in loss.items()})
        }

    def _step(self, loss: dict[str, torch.Tensor]) -> set[str]:
        """Steps each entry whose turn has come; returns those whose loss or gradient is not finite."""
        faulty = set(self.guard.judge(loss, self)) if self.guard is not None else set()
        for name in loss:
            entry = self[name]
            if name in faulty:
                self.guard.undo(lane_of(name))
                entry.zero_grad()
            if entry.should_update():
                if self.guard is None or self.guard.may_step(name):
                    entry.step()
                entry.zero_grad()
        if self.guard is not None:
            self.guard.forget()
        return faulty

    @property
    def skipped(self) -> dict[str, int]:
        """Number of steps that were skipped, by entry."""
        return dict(self.guard.skipped) if self.guard is not None else {}

    def state_dict(self) -> dict:
        state = super().state_dict()
        if self.guard is not None and self.guard.state_dict():
            state[GUARD] = self.guard.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        state = dict(state_dict)
        counted = state.pop(GUARD, {})
        super().load_state_dict(state)
        if self.guard is not None:
            self.guard.load_state_dict(counted)


def _backward(losses: list[tuple[OptimWrapper, torch.Tensor]], **kwargs) -> None:
    """One backward for all, each loss under its own entry's accumulation and AMP scale.

    Stock ``OptimWrapper.backward`` would go backward once an entry, which DDP's reducer does not
    allow.
    """
    total = 0
    for entry, loss in losses:
        loss = entry.scale_loss(loss)
        scaler = getattr(entry, 'loss_scaler', None)
        total = total + (loss if scaler is None else scaler.scale(loss))
        entry._inner_count += 1  # what its own backward would count
    total.backward(**kwargs)
