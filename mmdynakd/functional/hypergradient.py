"""Gradient of the upper objective with respect to α, θ = softmax(α)."""
from collections.abc import Callable

import torch


class NoHypergradientError(RuntimeError):
    """The upper loss does not depend on θ, so that a search could not move."""


def first_order(alpha: torch.Tensor, upper_loss: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """First-order upper objective L_val(w, θ) at frozen w (DynaKD, eq. 3).

    With g = ∂L/∂θ (n,), its gradient is ∂L/∂α = θ ⊙ (g − ⟨θ, g⟩); autograd computes it.

    Args:
        alpha: (n,) logits of θ, a leaf that requires grad.
        upper_loss: maps θ (n,) to the scalar loss on a validation batch.

    Returns:
        The scalar loss, its graph reaching ``alpha``.

    Raises:
        NoHypergradientError: if the loss has no gradient with respect to θ.
    """
    loss = upper_loss(torch.softmax(alpha, dim=0))
    if not loss.requires_grad:
        raise NoHypergradientError('the upper loss has no gradient with respect to θ')
    return loss
