"""Gradient of the upper objective with respect to θ, and through it to α."""

from collections.abc import Callable

import torch

Tensors = dict[str, torch.Tensor]
Average = Callable[[torch.Tensor], None]


class NoHypergradientError(RuntimeError):
    """The upper loss does not depend on θ, so a search could not move it."""


def first_order(
    theta: torch.Tensor, upper_loss: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """First-order upper objective L_val(w, θ) at frozen w (DynaKD, eq. 3).

    With θ = softmax(α / t) and g = ∂L/∂θ (n,), its gradient is ∂L/∂α = θ ⊙ (g − ⟨θ, g⟩) / t.
    Autograd computes it.

    Args:
        theta: (n,) or (C, n), a function of α.
        upper_loss: maps θ to the scalar loss on a validation batch.

    Returns:
        The scalar loss; its graph reaches α.

    Raises:
        NoHypergradientError: the loss has no gradient with respect to θ.

    Examples:
        >>> alpha = torch.zeros(2, requires_grad=True)
        >>> cost = torch.tensor([1.0, 3.0])
        >>> loss = first_order(alpha.softmax(0), lambda theta: theta @ cost)
        >>> loss.item(), torch.autograd.grad(loss, alpha)[0].tolist()
        (2.0, [-0.5, 0.5])
    """
    return _with_gradient(upper_loss(theta), 'upper loss')


def unrolled(
    theta: torch.Tensor,
    params: Tensors,
    train_loss: Callable[[Tensors, torch.Tensor], torch.Tensor],
    val_loss: Callable[[Tensors], torch.Tensor],
    lr: float,
    average: Average = lambda gradient: None,
) -> torch.Tensor:
    """Second-order upper objective: L_val after one virtual step ``w' = w − ξ ∇_w L_train(w, θ)``.

    With v = ∇L_val(w'), exactly:

        dL_val/dθ = −ξ vᵀ ∂²L_train/∂w∂θ = −ξ ∂/∂θ [ d/dε L_train(w + ε v, θ) ]  at ε = 0

    So one forward-mode pass of the student along v, then a backward pass from that number to θ,
    replaces a backward pass through the virtual step. Nothing of the student's backward pass is
    kept in memory.

    Args:
        theta: (n,) or (C, n), a function of α.
        params: w by name, leaves that require grad.
        train_loss: maps (w, θ) to the scalar L_train, with the relaxed teacher. It is called twice
            and must be deterministic.
        val_loss: maps w' to the scalar L_val, the label loss on a validation batch.
        lr: ξ.
        average: replaces a gradient by its mean over the ranks, in place.

    Returns:
        A scalar of value L_val(w'), whose gradient with respect to θ is the one above.

    Raises:
        NoHypergradientError: L_train has no gradient with respect to θ.

    Examples:
        >>> theta = torch.tensor([0.5, 0.5], requires_grad=True)
        >>> w = dict(w=torch.tensor([1.0, 1.0], requires_grad=True))
        >>> loss = unrolled(
        ...     theta, w, lambda w, theta: theta @ w['w'] ** 2, lambda w: w['w'].sum(), lr=0.1
        ... )
        >>> round(loss.item(), 4), torch.autograd.grad(loss, theta)[0].round(decimals=2).tolist()
        (1.8, [-0.20000000298023224, -0.20000000298023224])
    """
    step = _gradient(lambda w: train_loss(w, theta.detach()), params, average)
    moved = {
        name: (value - lr * step[name]).detach().requires_grad_() for name, value in params.items()
    }
    value, direction = _value_and_gradient(val_loss, moved, average)
    frozen = {name: p.detach() for name, p in params.items()}
    tangent = torch.func.jvp(lambda w: train_loss(w, theta), (frozen,), (direction,))[1]
    surrogate = -lr * _with_gradient(tangent, 'training loss')
    return value + (surrogate - surrogate.detach())


def _gradient(
    loss: Callable[[Tensors], torch.Tensor], params: Tensors, average: Average
) -> Tensors:
    return _value_and_gradient(loss, params, average)[1]


def _value_and_gradient(
    loss: Callable[[Tensors], torch.Tensor], params: Tensors, average: Average
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
