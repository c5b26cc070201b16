"""Upper step of a lane: the loss whose gradient moves θ."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, cast

import torch
from mmengine.dist import all_reduce
from torch import nn
from torch.func import functional_call

from mmdynakd.functional import NoHypergradientError, first_order, unrolled
from mmdynakd.models.selections import CategoricalDistribution

from .batch import Batch, weighed
from .lane import Lane
from .randomness import seed_step

Tensors = dict[str, torch.Tensor]


class ThetaStepper(Protocol):
    """What steps θ in an upper step: the run's optim wrapper, see ``mmdynakd.engine.optim``.

    Examples:
        >>> from mmdynakd.engine import BilevelOptimWrapper
        >>> stepper: type[ThetaStepper] = BilevelOptimWrapper
    """

    def theta_context(self, model: nn.Module) -> contextlib.AbstractContextManager[None]:
        """AMP and accumulation of the upper step."""

    def update_theta(
        self, loss: dict[str, torch.Tensor], alpha: dict[str, nn.Parameter]
    ) -> set[str]:
        """Step θ of each lane; return the lanes whose batch was not finite."""

    def __getitem__(self, name: str) -> Any:
        """The optim wrapper of one lane."""


def upper_loss(lane: Lane, val: Batch) -> torch.Tensor:
    """First order (eq. 3): the scalar ``L_d(Σ_i θ_i f_Ti(x), f_S(x))``.

    Its gradient reaches α only. The student is frozen: it is in eval mode without gradient, and its
    BatchNorm buffers do not change.

    Args:
        lane: One whose θ is learned.
        val: Of the validation split, with the records of all its teachers.

    Raises:
        NoHypergradientError: If the loss does not depend on θ.

    Examples:
        >>> from mmdynakd.models.toy import toy_batch, toy_dynakd
        >>> model = toy_dynakd()
        >>> val = model.upper_batch(model.data_preprocessor(toy_batch()))
        >>> upper_loss(model.lanes['search'], val).requires_grad
        True
    """
    selection = lane.distribution
    theta = selection.theta()
    with _mode(lane, training=False), _explained(lane):
        with torch.no_grad(), lane.recording(selection.teachers):
            lane.student(val.inputs, val.data_samples, mode='loss')
        loss = first_order(theta, lambda theta: _relaxed_loss(lane, val, theta))
    return _regularized(weighed(loss, val.share), selection, theta)


def unrolled_upper_loss(lane: Lane, val: Batch, train: Batch, lr: float) -> torch.Tensor:
    """Second order: the label loss on ``val`` after one virtual step on ``train``.

    See :func:`mmdynakd.functional.unrolled`. The virtual step is the lower step with the relaxed
    teacher (train mode, label loss included, plain SGD). Neither weights nor BatchNorm buffers
    change. The label loss is computed in eval mode. All is in full precision, AMP or not: torch's
    forward mode does not go with autocast, and the gradient is a small difference.

    Args:
        lane: One whose θ is learned.
        val: Of the validation split.
        train: Of the training split, with the records of all its teachers.
        lr: ξ, the learning rate of the virtual step.

    Returns:
        A scalar whose gradient reaches α only.

    Raises:
        NoHypergradientError: If the training loss does not depend on θ.

    Examples:
        >>> from mmdynakd.models.toy import toy_batch, toy_dynakd
        >>> model = toy_dynakd(upper_objective='unrolled')
        >>> batch = model.upper_batch(model.data_preprocessor(toy_batch()))
        >>> loss = unrolled_upper_loss(model.lanes['search'], batch, batch, lr=0.1)
        >>> loss.backward()
        >>> model.lanes['search'].selection.alpha.grad.shape
        torch.Size([2])
    """
    selection = lane.distribution
    theta = selection.theta()
    params: Tensors = {name: p for name, p in _trained(lane).items() if p.requires_grad}

    def train_loss(w: Tensors, theta: torch.Tensor) -> torch.Tensor:
        buffers = {name: b.clone() for name, b in lane.named_buffers()}
        # Dropout draws the same numbers in every pass.
        seed_step(train.draws.seed, train.draws.step)
        loss = functional_call(lane, {**w, **buffers}, (lambda: _lower_loss(lane, train, theta),))
        return weighed(loss, train.share)

    def val_loss(w: Tensors) -> torch.Tensor:
        with _mode(lane, training=False):
            return weighed(functional_call(lane, w, (lambda: _label_loss(lane, val),)), val.share)

    with _explained(lane), torch.autocast(val.inputs.device.type, enabled=False):
        loss = unrolled(theta, params, train_loss, val_loss, lr, _average)
    lane.forget()  # dual numbers are of no use outside
    return _regularized(loss, selection, theta)


def _average(gradient: torch.Tensor) -> None:
    all_reduce(gradient, op='mean')


def _regularized(
    loss: torch.Tensor, selection: CategoricalDistribution, theta: torch.Tensor
) -> torch.Tensor:
    return loss + selection.regularizer(theta) if selection.entropy_weight else loss


def _trained(lane: Lane) -> Mapping[str, nn.Parameter]:
    return {name: p for name, p in lane.named_parameters() if not name.startswith('selection.')}


def _lower_loss(lane: Lane, batch: Batch, theta: torch.Tensor) -> torch.Tensor:
    """The lower step's loss with the relaxed teacher."""
    with lane.recording(lane.selection.teachers):
        own = _label_loss(lane, batch)
    return lane.student_loss_weight * own + _relaxed_loss(lane, batch, theta)


def _label_loss(lane: Lane, batch: Batch) -> torch.Tensor:
    return _sum(lane.student(batch.inputs, batch.data_samples, mode='loss'))


def _relaxed_loss(lane: Lane, batch: Batch, theta: torch.Tensor) -> torch.Tensor:
    choice = lane.distribution.relax(theta, batch.draws, batch.labels)
    return _sum(lane.distiller.compute_distill_losses(batch.records, choice))


def _sum(losses: Tensors) -> torch.Tensor:
    own = (value.mean() for key, value in losses.items() if 'loss' in key)
    return cast(torch.Tensor, sum(own))


@contextlib.contextmanager
def _mode(lane: Lane, training: bool) -> Iterator[None]:
    before = lane.training
    lane.train(training)
    try:
        yield
    finally:
        lane.train(before)


@contextlib.contextmanager
def _explained(lane: Lane) -> Iterator[None]:
    """Name the losses that may have cut the gradient of θ."""
    try:
        yield
    except NoHypergradientError as error:
        names = [n for d in lane.distiller.distillers.values() for n in d.distill_losses]
        raise NoHypergradientError(
            f'{error}: one of the losses {names} detaches the teacher; set its teacher_detach=False'
        ) from error
