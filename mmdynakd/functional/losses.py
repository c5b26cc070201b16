"""Distillation losses that MMRazor lacks."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def kd(student: torch.Tensor, teacher: torch.Tensor, tau: float) -> torch.Tensor:
    """Distillation loss of each sample, ``τ² KL(softmax(z_T / τ) ‖ softmax(z_S / τ))``.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015.

    Args:
        student: (B, C) logits z_S.
        teacher: (B, C) logits z_T.
        tau: temperature τ.

    Returns:
        (B,).

    Examples:
        >>> logits = torch.tensor([[2.0, 0.0]])
        >>> kd(logits, logits, tau=4.0).item()
        0.0
        >>> round(kd(logits, -logits, tau=4.0).item(), 4)
        1.9593
    """
    log_q, log_p = torch.log_softmax(student / tau, dim=1), torch.log_softmax(teacher / tau, dim=1)
    return tau**2 * F.kl_div(log_q, log_p, reduction='none', log_target=True).sum(1)


def standardize(logits: torch.Tensor, eps: float = 1e-7) -> torch.Tensor:
    """Z-score of each sample's logits, ``(z − mean) / (std + eps)``.

    Source: Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024. ``eps`` and
    the standard deviation over C − 1 are those of the authors' code. The temperature divides
    afterwards.

    Args:
        logits: (B, C).
        eps: added to the standard deviation.

    Returns:
        (B, C).

    Examples:
        >>> standardize(torch.tensor([[1.0, 2.0, 3.0]])).round(decimals=4).tolist()
        [[-1.0, 0.0, 1.0]]
    """
    return (logits - logits.mean(1, keepdim=True)) / (logits.std(1, keepdim=True) + eps)


def batch_relation(student: torch.Tensor, teacher: torch.Tensor, tau: float) -> torch.Tensor:
    """Distance of the samples' relations, ``1/B ‖P_T P_Tᵀ − P_S P_Sᵀ‖²`` with P = softmax(z / τ).

    Source: Jin et al., "Multi-Level Logit Distillation", CVPR 2023 (batch level).

    Args:
        student: (B, C) logits.
        teacher: (B, C) logits.
        tau: temperature τ.

    Returns:
        A scalar.

    Examples:
        >>> logits = torch.eye(2)
        >>> batch_relation(logits, logits, tau=1.0).item()
        0.0
    """
    q, p = torch.softmax(student / tau, dim=1), torch.softmax(teacher / tau, dim=1)
    return (p @ p.T - q @ q.T).pow(2).sum() / len(p)


def class_relation(student: torch.Tensor, teacher: torch.Tensor, tau: float) -> torch.Tensor:
    """Distance of the classes' relations, ``1/C ‖P_Tᵀ P_T − P_Sᵀ P_S‖²`` with P = softmax(z / τ).

    Source: Jin et al., "Multi-Level Logit Distillation", CVPR 2023 (class level).

    Args:
        student: (B, C) logits.
        teacher: (B, C) logits.
        tau: temperature τ.

    Returns:
        A scalar.

    Examples:
        >>> logits = torch.eye(2)
        >>> class_relation(logits, logits, tau=1.0).item()
        0.0
    """
    q, p = torch.softmax(student / tau, dim=1), torch.softmax(teacher / tau, dim=1)
    return (p.T @ p - q.T @ q).pow(2).sum() / p.shape[1]


def mlkd(
    student: torch.Tensor,
    teacher: torch.Tensor,
    taus: Sequence[float],
    standard: bool = False,
    as_in_code: bool = False,
) -> torch.Tensor:
    """Multi-level logit distillation of one view.

    It is the sum of the instance level (:func:`kd`), the batch level (:func:`batch_relation`) and
    the class level (:func:`class_relation`), over the temperatures.

    Source: Jin et al., "Multi-Level Logit Distillation", CVPR 2023. The authors' code does this
    with the weakly augmented view, and with two factors (``as_in_code``). It multiplies the mean of
    the instance and batch levels by the share of samples whose confidence is at most the median,
    and the class level by the same share of classes; each is about a half. They were meant as
    masks, but the losses are averaged before they apply. The code then adds the instance level of
    a strongly augmented view, without a factor, using the weak view's logits at two of its five
    temperatures.

    Args:
        student: (B, C) logits.
        teacher: (B, C) logits.
        taus: temperatures.
        standard: the instance level uses standardized logits (Sun et al., CVPR 2024).
        as_in_code: with the code's factors.

    Returns:
        A scalar.

    Examples:
        >>> student, teacher = torch.zeros(2, 2), torch.eye(2)
        >>> round(mlkd(student, teacher, taus=[1.0, 2.0]).item(), 4)
        0.2813
    """
    own, theirs = (standardize(student), standardize(teacher)) if standard else (student, teacher)
    zero = student.new_zeros(())
    instance = sum((kd(own, theirs, tau).mean() for tau in taus), start=zero)
    batch = sum((batch_relation(student, teacher, tau) for tau in taus), start=zero)
    classes = sum((class_relation(student, teacher, tau) for tau in taus), start=zero)
    if as_in_code:
        p = torch.softmax(teacher.detach(), dim=1)
        unsure, rare = _share_under_median(p.max(1).values), _share_under_median(p.sum(0))
        return unsure * (instance + batch) + rare * classes
    return instance + batch + classes


def feature_mse(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared distance of two features within each sample.

    This is the feature part of CA-MKD (Zhang et al., ICASSP 2022), averaged as in its code.

    Args:
        student: (B, ...).
        teacher: of the same shape.

    Returns:
        (B,).

    Examples:
        >>> feature_mse(torch.zeros(1, 2, 2), torch.full((1, 2, 2), 3.0)).tolist()
        [9.0]
    """
    return F.mse_loss(student, teacher, reduction='none').flatten(1).mean(1)


def _share_under_median(values: torch.Tensor) -> torch.Tensor:
    return (values <= torch.quantile(values, 0.5)).to(values.dtype).mean()
