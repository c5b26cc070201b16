"""One optimizer for each student and each θ, one backward for all students."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn

from mmdynakd.compat.mmengine_internals import count_backward
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
        max_skipped: a step whose loss or gradient is not finite is skipped, as if its batch had
            never come; a loop stops after this many in a row of one entry. With None or 0 every
            step is taken; that saves copying the students' buffers (BatchNorm's) and reading one
            number from the device in each step.
        entries: the optim wrappers by name.

    Raises:
        ValueError: ``upper_interval`` < 1 or ``warmup`` < 0.

    Examples:
        In a config: ``optim_wrapper=dict(type='mmdynakd.BilevelOptimWrapper', …)``, with
        ``constructor='mmdynakd.BilevelOptimWrapperConstructor'``.

        >>> def entry():
        ...     return OptimWrapper(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1))
        >>> wrapper = BilevelOptimWrapper(2, 4, **{'search': entry(), 'search.theta': entry()})
        >>> list(wrapper.lanes), list(wrapper.thetas), wrapper.get_lr()
        (['search'], ['search'], {'lr': [0.1], 'theta.lr': [0.1]})
        >>> [step for step in range(9) if wrapper.is_upper_step(step)]
        [4, 6, 8]
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
        """The students' entries by lane."""
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
        """Learning rates to log.

        That is one ``lr`` where all students share it, one ``theta.lr`` likewise, otherwise one a
        lane.
        """
        rates: dict[str, list[float]] = super().get_lr()
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
        """Tell the entries how many of their own steps are done, and how many there will be."""
        for entry in self.lanes.values():
            entry.initialize_count_status(model, cur_iter, max_iters)
        upper, total = self.upper_steps_before(cur_iter), self.upper_steps_before(max_iters)
        for entry in self.thetas.values():
            entry.initialize_count_status(model, upper, total)

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """AMP and gradient synchronisation of the lower step.

        All lanes count alike, so one of them speaks for all.
        """
        self._watch(model, self.lanes)
        with next(iter(self.lanes.values())).optim_context(model):
            yield

    @contextlib.contextmanager
    def theta_context(self, model: nn.Module) -> Iterator[None]:
        """AMP of the upper step."""
        self._watch(model, self.thetas)
        with next(iter(self.thetas.values())).optim_context(model):
            yield

    def _watch(self, model: nn.Module, names: Iterable[str]) -> None:
        algorithm: Any = model.module if is_model_wrapper(model) else model
        if self.guard is not None and hasattr(algorithm, 'lanes'):
            self.guard.watch(algorithm, {name: algorithm.lanes[name] for name in names})

    def update_params(self, loss: dict[str, torch.Tensor]) -> None:
        """Lower step: one backward through all lanes, then each lane's optimizer.

        Args:
            loss: total loss by lane. Lanes share no trained parameter, so each gets the gradient of
                its own.
        """
        _backward([(self[name], value) for name, value in loss.items()])
        self._step(loss)

    def update_theta(
        self, loss: dict[str, torch.Tensor], alpha: dict[str, nn.Parameter]
    ) -> set[str]:
        """Upper step: gradients of α only, averaged over the ranks; then each θ's optimizer.

        Args:
            loss: upper loss by lane.
            alpha: (n,) or (C, n) parameter of θ by lane, n teachers, C classes.

        Returns:
            The lanes whose batch was not finite, so that it moves no θ.

        Raises:
            NoHypergradientError: a loss does not depend on α.
        """
        thetas = self.thetas
        for name, value in loss.items():
            entry = thetas[name]
            local = alpha[name].grad
            alpha[name].grad = None
            _backward([(entry, value)], inputs=[alpha[name]])
            gradient = alpha[name].grad
            if gradient is None:
                raise NoHypergradientError(
                    f"lane '{name}': θ got no gradient from the upper loss; a loss of its "
                    'distiller detaches the teacher: set its teacher_detach=False'
                )
            all_reduce(gradient, op='mean')
            if local is not None:  # of earlier, accumulated steps: averaged already
                gradient += local
        return {
            lane_of(entry)
            for entry in self._step({theta_entry(lane): value for lane, value in loss.items()})
        }

    def _step(self, loss: dict[str, torch.Tensor]) -> set[str]:
        """Steps each entry whose turn has come; returns those that are not finite."""
        guard = self.guard
        faulty = set(guard.judge(loss, self)) if guard is not None else set()
        for name in loss:
            entry = self[name]
            if guard is not None and name in faulty:
                guard.undo(lane_of(name))
                entry.zero_grad()
            if entry.should_update():
                if guard is None or guard.may_step(name):
                    entry.step()
                entry.zero_grad()
        if guard is not None:
            guard.forget()
        return faulty

    @property
    def skipped(self) -> dict[str, int]:
        """Number of steps that were skipped, by entry."""
        return dict(self.guard.skipped) if self.guard is not None else {}

    def state_dict(self) -> dict[str, Any]:
        """MMEngine's, with what the guard counted."""
        state: dict[str, Any] = super().state_dict()
        if self.guard is not None and self.guard.state_dict():
            state[GUARD] = self.guard.state_dict()
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        state = dict(state_dict)
        counted = state.pop(GUARD, {})
        super().load_state_dict(state)
        if self.guard is not None:
            self.guard.load_state_dict(counted)


def _backward(losses: list[tuple[OptimWrapper, torch.Tensor]], **kwargs: Any) -> None:
    """One backward for all, each loss under its own entry's accumulation and AMP scale.

    Stock ``OptimWrapper.backward`` would go backward once an entry, which DDP's reducer does not
    allow.
    """
    total: Any = 0
    for entry, loss in losses:
        loss = entry.scale_loss(loss)
        scaler = getattr(entry, 'loss_scaler', None)
        total = total + (loss if scaler is None else scaler.scale(loss))
        count_backward(entry)
    total.backward(**kwargs)
