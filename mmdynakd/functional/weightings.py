"""Rules that weigh n teachers by what they and the student say: the multi-teacher rivals'
equations.
"""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.svm import OneClassSVM


def entropy_weights(teacher_logits: torch.Tensor) -> torch.Tensor:
    """EBKD (Kwon et al., ICASSP 2020): a teacher weighs more the less entropy its prediction of the
    sample has.

        w_k = (1 − H_k / Σ_j H_j) / (n − 1),   H_k the entropy of softmax(z_k)

    As CA-MKD's authors run it as a rival, with one difference: they divide by n, not n − 1, so that
    their weights sum to (n − 1)/n.

    Args:
        teacher_logits: (n, B, C).

    Returns:
        (n, B), which sums to 1 over the teachers; 1 for a single teacher, 1/n where no teacher has
        entropy.
    """
    n = len(teacher_logits)
    entropy = torch.special.entr(torch.softmax(teacher_logits, dim=-1)).sum(-1)
    total = entropy.sum(0, keepdim=True)
    share = torch.where(
        total > 0, entropy / total.clamp_min(torch.finfo(entropy.dtype).tiny), 1 / n
    )
    return _complement(share)


def confidence_weights(teacher_logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """CA-MKD (Zhang et al., ICASSP 2022): a teacher weighs more the closer it is to the label.

        w_k = (1 − exp(L_k) / Σ_j exp(L_j)) / (n − 1),   L_k the cross entropy of teacher k and the
        label

    The authors' code divides the weighted loss by n once more, which the paper does not have.

    Args:
        teacher_logits: (n, B, C); for the feature part, those of the teacher's classifier on the
            student's feature.
        labels: (B,).

    Returns:
        (n, B), which sums to 1 over the teachers; 1 for a single teacher.
    """
    losses = torch.stack(
        [F.cross_entropy(logits, labels, reduction='none') for logits in teacher_logits]
    )
    return _complement(torch.softmax(losses, dim=0))


def kd_gradients(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, tau: float
) -> torch.Tensor:
    """Gradient of ``τ² KL(teacher ‖ student)`` with respect to the student's logits, the mean over
    the batch.

        g_k = τ / B Σ_b (softmax(z_S / τ) − softmax(z_k / τ))

    Args:
        student_logits: (B, C).
        teacher_logits: (n, B, C).
        tau: temperature.

    Returns:
        (n, C).
    """
    student = torch.softmax(student_logits / tau, dim=-1)
    return tau * (student - torch.softmax(teacher_logits / tau, dim=-1)).mean(1)


def min_norm_weights(gradients: torch.Tensor, max_weight: float) -> torch.Tensor:
    """AEKD (Du et al., NeurIPS 2020): the direction on which the teachers agree.

        min_a ‖Σ_k a_k g_k‖²   s.t.   Σ_k a_k = 1,   0 ≤ a_k ≤ C

    It is the dual of a one-class SVM with ν = 1 / (C n), as in the authors' code. There the
    solver's tolerance is absolute, so that with small gradients it stops at its first guess; here
    the problem is scaled first.

    Args:
        gradients: (n, D).
        max_weight: C; below 1/n it is 1/n (the average), from 1 on it bounds nothing.

    Returns:
        (n,), which sums to 1.
    """
    n = len(gradients)
    bound = min(max(max_weight, 1 / n), 1.0)
    gram = (gradients.double() @ gradients.double().T).cpu().numpy()
    scale = np.trace(gram) / n
    if bound * n <= 1 + 1e-9 or not scale > 0:
        return torch.full_like(gradients[:, 0], 1 / n)
    machine = OneClassSVM(kernel='precomputed', nu=1 / (bound * n), tol=1e-9)
    machine.random_state = (
        0  # its fit would draw from numpy's generator, and so move the augmentation of all lanes
    )
    machine.fit(gram / scale)
    weights = np.zeros(n)
    weights[machine.support_] = machine.dual_coef_[0]
    return torch.as_tensor(weights / weights.sum(), dtype=gradients.dtype, device=gradients.device)


def _complement(share: torch.Tensor) -> torch.Tensor:
    n = len(share)
    return (1 - share) / (n - 1) if n > 1 else torch.ones_like(share)
