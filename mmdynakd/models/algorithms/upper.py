"""Upper step of a lane: the loss whose gradient moves θ."""

import contextlib
from collections.abc import Iterator

import torch
from mmengine.dist import all_reduce
from torch import nn
from torch.func import functional_call

from mmdynakd.functional import NoHypergradientError, first_order, unrolled

from .batch import Batch, weighed
from .lane import Lane
from .randomness import seed_step


def upper_loss(lane: Lane, val: Batch) -> torch.Tensor:
    """First order (eq. 3): scalar ``L_d(Σ_i θ_i f_Ti(x), f_S(x))``, its gradient reaching α alone.

    The student is frozen: eval mode, no gradient, its BatchNorm buffers untouched.
    """
    selection = lane.selection
    theta = selection.theta()
    with _mode(lane, training=False), _explained(lane):
        with torch.no_grad(), lane.recording(selection.teachers):
            lane.student(val.inputs, val.data_samples, mode='loss')
        loss = first_order(theta, lambda theta: _relaxed_loss(lane, val, theta))
    loss = weighed(loss, val.share)
    return loss + selection.regularizer(theta) if selection.entropy_weight else loss


def unrolled_upper_loss(lane: Lane, val: Batch, train: Batch, lr: float) -> torch.Tensor:
    """Second order: the label loss on ``val`` after one virtual step on ``train``, see
    :func:`unrolled`.

    The virtual step is the lower step with the relaxed teacher (train mode, label loss included,
    plain SGD at ``lr``); neither weights nor BatchNorm buffers move. The label loss is taken in
    eval mode. All in full precision, AMP or not: torch's forward mode does not go with autocast,
    and the gradient is a small difference.
    """
    selection, theta = lane.selection, lane.selection.theta()
    params = {name: p for name, p in _trained(lane).items() if p.requires_grad}

    def train_loss(w, theta):
        buffers = {name: b.clone() for name, b in lane.named_buffers()}
        seed_step(
            train.draws.seed, train.draws.step
        )  # what Dropout draws is the same in every pass
        loss = functional_call(lane, {**w, **buffers}, (lambda: _lower_loss(lane, train, theta),))
        return weighed(loss, train.share)

    def val_loss(w):
        with _mode(lane, training=False):
            return weighed(functional_call(lane, w, (lambda: _label_loss(lane, val),)), val.share)

    with _explained(lane), torch.autocast(val.inputs.device.type, enabled=False):
        loss = unrolled(
            theta,
            params,
            train_loss,
            val_loss,
            lr,
            lambda gradient: all_reduce(gradient, op='mean'),
        )
    lane.forget()  # dual numbers are of no use outside
    return loss + selection.regularizer(theta) if selection.entropy_weight else loss


def _trained(lane: Lane) -> dict[str, nn.Parameter]:
    return {name: p for name, p in lane.named_parameters() if not name.startswith('selection.')}


def _lower_loss(lane: Lane, batch: Batch, theta: torch.Tensor) -> torch.Tensor:
    """The lower step's loss with the relaxed teacher."""
    with lane.recording(lane.selection.teachers):
        own = _label_loss(lane, batch)
    return lane.student_loss_weight * own + _relaxed_loss(lane, batch, theta)


def _label_loss(lane: Lane, batch: Batch) -> torch.Tensor:
    return _sum(lane.student(batch.inputs, batch.data_samples, mode='loss'))


def _relaxed_loss(lane: Lane, batch: Batch, theta: torch.Tensor) -> torch.Tensor:
    choice = lane.selection.relax(theta, batch.draws, batch.labels)
    return _sum(lane.distiller.compute_distill_losses(batch.records, choice))


def _sum(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    return sum(value.mean() for key, value in losses.items() if 'loss' in key)


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
    """A missing gradient of θ names the losses that may cut it."""
    try:
        yield
    except NoHypergradientError as error:
        names = [n for d in lane.distiller.distillers.values() for n in d.distill_losses]
        raise NoHypergradientError(
            f'{error}: one of the losses {names} detaches the teacher; set its teacher_detach=False'
        ) from error
