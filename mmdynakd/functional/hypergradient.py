"""Gradient of the upper objective with respect to θ, and through it to α."""

from collections.abc import Callable

import torch

Tensors = dict[str, torch.Tensor]


class NoHypergradientError(RuntimeError):
    """The upper loss does not depend on θ, so that a search could not move."""


def first_order(
    theta: torch.Tensor, upper_loss: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """First-order upper objective L_val(w, θ) at frozen w (DynaKD, eq. 3).

    With θ = softmax(α / t) and g = ∂L/∂θ (n,), its gradient is ∂L/∂α = θ ⊙ (g − ⟨θ, g⟩) / t;
    autograd computes it.

    Args:
        theta: (n,) or (C, n), a function of α.
        upper_loss: maps θ to the scalar loss on a validation batch.

    Returns:
        The scalar loss, its graph reaching α.

    Raises:
        NoHypergradientError: if the loss has no gradient with respect to θ.
    """
    return _with_gradient(upper_loss(theta), 'upper loss')


def unrolled(
    theta: torch.Tensor,
    params: Tensors,
    train_loss: Callable[[Tensors, torch.Tensor], torch.Tensor],
    val_loss: Callable[[Tensors], torch.Tensor],
    lr: float,
    average: Callable[[torch.Tensor], None] = lambda gradient: None,
) -> torch.Tensor:
    """Second-order upper objective: L_val(w'(θ)) after one virtual step ``w' = w − ξ ∇_w L_train(w,
    θ)``.

    Exactly, with v = ∇L_val(w'):

        dL_val/dθ = −ξ vᵀ ∂²L_train/∂w∂θ = −ξ ∂/∂θ [ d/dε L_train(w + ε v, θ) ]  at ε = 0

    so that one forward-mode pass of the student along v, then a backward pass from that number to θ
    alone, replace a backward pass through the virtual step: nothing of the student's backward pass
    is kept.

    Args:
        theta: (n,) or (C, n), a function of α.
        params: w, leaves that require grad.
        train_loss: (w, θ) to the scalar L_train, with the relaxed teacher; deterministic (called
            twice).
        val_loss: w' to the scalar L_val, the label loss on a validation batch.
        lr: ξ.
        average: replaces a gradient by its mean over the ranks, in place.

    Returns:
        A scalar of value L_val(w'), whose gradient with respect to θ is that above.

    Raises:
        NoHypergradientError: if L_train has no gradient with respect to θ.
    """
    step = _gradient(lambda w: train_loss(w, theta.detach()), params, average)
    moved = {
        name: (value - lr * step[name]).detach().requires_grad_() for name, value in params.items()
    }
    value, direction = _value_and_gradient(val_loss, moved, average)
    frozen = {name: p.detach() for name, p in params.items()}
    _, tangent = torch.func.jvp(lambda w: train_loss(w, theta), (frozen,), (direction,))
    surrogate = -lr * _with_gradient(tangent, 'training loss')
    return value + (surrogate - surrogate.detach())


def _gradient(
    loss: Callable[[Tensors], torch.Tensor], params: Tensors, average: Callable
) -> Tensors:
    return _value_and_gradient(loss, params, average)[1]


def _value_and_gradient(
    loss: Callable, params: Tensors, average: Callable
) -> tuple[torch.Tensor, Tensors]:
    with torch.enable_grad():
        value = loss(params)
        found = torch.autograd.grad(value, list(params.values()), allow_unused=True)
    gradients = {
        name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(params.items(), found)
    }
    for gradient in gradients.values():
        average(gradient)
    return value.detach(), gradients


def _with_gradient(loss: torch.Tensor, what: str) -> torch.Tensor:
    if not loss.requires_grad:
        raise NoHypergradientError(f'the {what} has no gradient with respect to θ')
    return loss
