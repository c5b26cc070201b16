"""Rules of the multi-teacher rivals, which weigh n teachers by what they and the student say."""

import numpy as np
import torch
import torch.nn.functional as F


def entropy_weights(teacher_logits: torch.Tensor) -> torch.Tensor:
    """EBKD: a teacher weighs more where its prediction has less entropy.

        w_k = (1 − H_k / Σ_j H_j) / (n − 1),   H_k the entropy of softmax(z_k)

    Source: Kwon et al., ICASSP 2020, in the form in which CA-MKD's authors run it as a rival. They
    divide by n instead of n − 1, so their weights sum to (n − 1)/n.

    Args:
        teacher_logits: (n, B, C).

    Returns:
        (n, B), summing to 1 over the teachers; 1 for a single teacher, 1/n where no teacher has any
        entropy.

    Examples:
        >>> logits = torch.tensor([[[9.0, 0.0]], [[0.0, 0.0]]])  # one teacher is sure, one is not
        >>> entropy_weights(logits).round(decimals=2).tolist()
        [[1.0], [0.0]]
    """
    n = len(teacher_logits)
    entropy = torch.special.entr(torch.softmax(teacher_logits, dim=-1)).sum(-1)
    total = entropy.sum(0, keepdim=True)
    share = torch.where(
        total > 0, entropy / total.clamp_min(torch.finfo(entropy.dtype).tiny), 1 / n
    )
    return _complement(share)


def confidence_weights(teacher_logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """CA-MKD: a teacher weighs more where it is closer to the label.

        w_k = (1 − exp(L_k) / Σ_j exp(L_j)) / (n − 1),   L_k teacher k's cross entropy

    Source: Zhang et al., ICASSP 2022. The authors' code divides the weighted loss by n once more,
    which the paper does not.

    Args:
        teacher_logits: (n, B, C). For the feature part, the logits that the teacher's classifier
            gives on the student's feature.
        labels: (B,) classes.

    Returns:
        (n, B), summing to 1 over the teachers; 1 for a single teacher.

    Examples:
        >>> logits = torch.tensor([[[3.0, 0.0]], [[0.0, 3.0]]])
        >>> [round(w, 4) for w in confidence_weights(logits, torch.tensor([0]))[:, 0].tolist()]
        [0.9526, 0.0474]
    """
    losses = torch.stack(
        [F.cross_entropy(logits, labels, reduction='none') for logits in teacher_logits]
    )
    return _complement(torch.softmax(losses, dim=0))


def kd_gradients(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, tau: float
) -> torch.Tensor:
    """Gradient of ``τ² KL(teacher ‖ student)`` by the student's logits, averaged over the batch.

        g_k = τ / B Σ_b (softmax(z_S / τ) − softmax(z_k / τ))

    Args:
        student_logits: (B, C).
        teacher_logits: (n, B, C).
        tau: temperature τ.

    Returns:
        (n, C).

    Examples:
        >>> student, teachers = torch.zeros(1, 2), torch.tensor([[[0.0, 0.0]], [[100.0, 0.0]]])
        >>> kd_gradients(student, teachers, tau=1.0).tolist()
        [[0.0, 0.0], [-0.5, 0.5]]
    """
    student = torch.softmax(student_logits / tau, dim=-1)
    return tau * (student - torch.softmax(teacher_logits / tau, dim=-1)).mean(1)


def min_norm_weights(gradients: torch.Tensor, max_weight: float) -> torch.Tensor:
    """AEKD: the weights of the direction on which the teachers agree.

        min_a ‖Σ_k a_k g_k‖²   s.t.   Σ_k a_k = 1,   0 ≤ a_k ≤ C

    Source: Du et al., NeurIPS 2020. The problem is the dual of a one-class SVM with ν = 1 / (C n),
    as in the authors' code. Their solver has an absolute tolerance, so with small gradients it
    stops at its first guess; here the problem is scaled first.

    Args:
        gradients: (n, D).
        max_weight: C. Below 1/n it acts as 1/n (the average); from 1 on it bounds nothing.

    Returns:
        (n,), summing to 1.

    Examples:
        >>> gradients = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> [round(w, 4) for w in min_norm_weights(gradients, max_weight=1.0).tolist()]
        [0.8, 0.2]
    """
    from sklearn.svm import OneClassSVM  # takes a second to import

    n = len(gradients)
    bound = min(max(max_weight, 1 / n), 1.0)
    gram = (gradients.double() @ gradients.double().T).cpu().numpy()
    scale = np.trace(gram) / n
    if bound * n <= 1 + 1e-9 or not scale > 0:
        return torch.full_like(gradients[:, 0], 1 / n)
    machine = OneClassSVM(kernel='precomputed', nu=1 / (bound * n), tol=1e-9)
    # Otherwise its fit draws from NumPy's global generator, and changes all lanes' augmentation.
    machine.random_state = 0
    machine.fit(gram / scale)
    weights = np.zeros(n)
    weights[machine.support_] = machine.dual_coef_[0]
    return torch.as_tensor(weights / weights.sum(), dtype=gradients.dtype, device=gradients.device)


def _complement(share: torch.Tensor) -> torch.Tensor:
    n = len(share)
    return (1 - share) / (n - 1) if n > 1 else torch.ones_like(share)
