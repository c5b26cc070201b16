"""How far a classifier's confidence is from its accuracy, and how far two accuracies are apart."""

import math

import torch


def expected_calibration_error(
    confidence: torch.Tensor, correct: torch.Tensor, bins: int = 15
) -> float:
    """Expected calibration error (ECE) with M bins of equal width.

        ECE = Σ_m |B_m| / N · |acc(B_m) − conf(B_m)|,   B_m = {i: (m − 1)/M < confidence_i ≤ m/M}

    A confidence of 0 is in the first bin.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 5.

    Args:
        confidence: (N,) largest probability of each sample, in [0, 1].
        correct: (N,) bool, whether the prediction is the label.
        bins: M.

    Returns:
        ECE in [0, 1].

    Raises:
        ValueError: there are no samples or no bins, the shapes differ, or a confidence lies outside
            [0, 1].

    Examples:
        >>> confidence = torch.tensor([0.75, 0.75, 0.75, 0.75])
        >>> expected_calibration_error(confidence, torch.tensor([True, True, True, False]))
        0.0
        >>> expected_calibration_error(confidence, torch.tensor([True, True, False, False]))
        0.25
    """
    if (
        confidence.dim() != 1
        or confidence.shape != correct.shape
        or not len(confidence)
        or bins < 1
    ):
        raise ValueError(
            'expected_calibration_error takes confidence and correct of one shape (N,), N > 0, and '
            f'bins > 0; got {tuple(confidence.shape)}, {tuple(correct.shape)}, bins={bins}'
        )
    confidence = confidence.double()
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError('a confidence lies outside [0, 1]: give probabilities, not logits')
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=confidence.device)[1:-1]
    # The number of edges below: an edge belongs to the bin under it.
    member = torch.bucketize(confidence, edges)
    gap = torch.zeros(bins, dtype=torch.float64, device=confidence.device)
    gap.index_add_(0, member, correct.double() - confidence)
    return float(gap.abs().sum() / len(confidence))


def two_proportion_z(first: int, first_total: int, second: int, second_total: int) -> float:
    """Test statistic z for the equality of two proportions, with pooled variance.

        z = (p_1 − p_2) / √(p (1 − p) (1/n_1 + 1/n_2)),   p = (k_1 + k_2) / (n_1 + n_2)

    Args:
        first: k_1, how many of the first sample.
        first_total: n_1.
        second: k_2, how many of the second sample.
        second_total: n_2.

    Returns:
        z, positive if the first proportion is larger; 0 if both are 0 or both are 1.

    Raises:
        ValueError: a total of 0, or a count outside 0..total.

    Examples:
        >>> round(two_proportion_z(60, 100, 40, 100), 4)
        2.8284
    """
    for count, total in ((first, first_total), (second, second_total)):
        if total < 1 or not 0 <= count <= total:
            raise ValueError(
                f'a proportion is a count in 0..total with total > 0, got {count} of {total}'
            )
    pooled = (first + second) / (first_total + second_total)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / first_total + 1 / second_total))
    return (first / first_total - second / second_total) / spread if spread else 0.0


def one_proportion_z(count: int, total: int, expected: float) -> float:
    """Test statistic z of a count against a known proportion, ``(k/n − q) / √(q (1 − q) / n)``.

    Args:
        count: k.
        total: n.
        expected: q.

    Returns:
        z, positive if the proportion is larger than expected.

    Raises:
        ValueError: a total of 0, a count outside 0..total, or ``expected`` outside (0, 1).

    Examples:
        >>> one_proportion_z(60, 100, 0.5)
        1.9999999999999996
    """
    if total < 1 or not 0 <= count <= total or not 0 < expected < 1:
        raise ValueError(
            'one_proportion_z takes a count in 0..total, total > 0, and expected in (0, 1); '
            f'got {count} of {total}, {expected}'
        )
    return (count / total - expected) / math.sqrt(expected * (1 - expected) / total)
