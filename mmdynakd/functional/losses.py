"""Distillation losses that MMRazor lacks."""

from collections.abc import Sequence

import torch


def kd(student: torch.Tensor, teacher: torch.Tensor, tau: float) -> torch.Tensor:
    """``τ² KL(softmax(z_T / τ) ‖ softmax(z_S / τ))`` of every sample: (B, C) logits to (B,).

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015.
    """
    log_q, log_p = torch.log_softmax(student / tau, dim=1), torch.log_softmax(teacher / tau, dim=1)
    return tau**2 * (log_p.exp() * (log_p - log_q)).sum(1)


def standardize(logits: torch.Tensor, eps: float = 1e-7) -> torch.Tensor:
    """Z-score of every sample's logits, ``(z − mean) / (std + eps)``: (B, C) to (B, C).

    Source: Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024. ``eps`` and
    the standard deviation over C − 1 are those of the authors' code; the temperature divides
    afterwards.
    """
    return (logits - logits.mean(1, keepdim=True)) / (logits.std(1, keepdim=True) + eps)


def batch_relation(student: torch.Tensor, teacher: torch.Tensor, tau: float) -> torch.Tensor:
    """Distance of the samples' relations, ``1/B ‖P_T P_Tᵀ − P_S P_Sᵀ‖²``, P = softmax(z / τ) (B,
    C); a scalar.

    Source: Jin et al., "Multi-Level Logit Distillation", CVPR 2023 (batch level).
    """
    q, p = torch.softmax(student / tau, dim=1), torch.softmax(teacher / tau, dim=1)
    return (p @ p.T - q @ q.T).pow(2).sum() / len(p)


def class_relation(student: torch.Tensor, teacher: torch.Tensor, tau: float) -> torch.Tensor:
    """Distance of the classes' relations, ``1/C ‖P_Tᵀ P_T − P_Sᵀ P_S‖²``; a scalar.

    Source: Jin et al., "Multi-Level Logit Distillation", CVPR 2023 (class level).
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
    """Multi-level logit distillation of one view: instance, batch and class level, summed over the
    temperatures.

    Source: Jin et al., "Multi-Level Logit Distillation", CVPR 2023. In the authors' code this is
    what the weakly augmented view gets, with two factors (``as_in_code``): the mean of the instance
    and batch levels is multiplied by the share of samples whose confidence is at most the median,
    and the class level by that of classes likewise, about a half each. They were meant as masks,
    but the losses are averaged before them. A strongly augmented view then adds the instance level
    alone, without a factor, and takes the weak view's logits at two of its five temperatures.

    Args:
        student, teacher: (B, C) logits.
        taus: temperatures.
        standard: the instance level on standardized logits (Sun et al., CVPR 2024).
        as_in_code: with the code's factors.

    Returns:
        A scalar.
    """
    own, theirs = (standardize(student), standardize(teacher)) if standard else (student, teacher)
    instance = sum(kd(own, theirs, tau).mean() for tau in taus)
    batch = sum(batch_relation(student, teacher, tau) for tau in taus)
    classes = sum(class_relation(student, teacher, tau) for tau in taus)
    if as_in_code:
        p = torch.softmax(teacher.detach(), dim=1)
        unsure, rare = _share_under_median(p.max(1).values), _share_under_median(p.sum(0))
        return unsure * (instance + batch) + rare * classes
    return instance + batch + classes


def feature_mse(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared distance of two features, (B, ...) each, within every sample: (B,).

    The form of CA-MKD's feature part (Zhang et al., ICASSP 2022), as its code averages it.
    """
    return (student - teacher).pow(2).flatten(1).mean(1)


def _share_under_median(values: torch.Tensor) -> torch.Tensor:
    return (values <= torch.quantile(values, 0.5)).to(values.dtype).mean()
