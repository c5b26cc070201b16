"""Losses that MMRazor lacks, against plain loops over samples, classes and temperatures."""

import math

import pytest
import torch
import torch.nn.functional as F

from mmdynakd.functional.losses import (
    batch_relation,
    class_relation,
    feature_mse,
    kd,
    mlkd,
    standardize,
)
from mmdynakd.models.losses import FeatureMSELoss, LogitStdKDLoss, MLKDLoss

B, C = 5, 7


def logits(seed):
    return 3 * torch.randn(B, C, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


S, T = logits(0), logits(1)


def probs(row, tau):
    exps = [math.exp(v / tau) for v in row.tolist()]
    return [e / sum(exps) for e in exps]


def kl(student, teacher, tau):
    p, q = probs(teacher, tau), probs(student, tau)
    return tau**2 * sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q))


def z(row):
    values = row.tolist()
    mean = sum(values) / C
    std = math.sqrt(sum((v - mean) ** 2 for v in values) / (C - 1))
    return torch.tensor([(v - mean) / (std + 1e-7) for v in values], dtype=torch.float64)


def relation(rows_s, rows_t, n):
    """Σ over all pairs of (⟨t_i, t_j⟩ − ⟨s_i, s_j⟩)² / n."""
    total = 0
    for i in range(n):
        for j in range(n):
            t = sum(a * b for a, b in zip(rows_t[i], rows_t[j]))
            s = sum(a * b for a, b in zip(rows_s[i], rows_s[j]))
            total += (t - s) ** 2
    return total / n


def levels(tau, own=lambda row: row):
    q, p = ([probs(row, tau) for row in x] for x in (S, T))
    columns = [list(zip(*rows)) for rows in (q, p)]
    return (
        sum(kl(own(S[b]), own(T[b]), tau) for b in range(B)) / B,
        relation(q, p, B),
        relation(*columns, C),
    )


@pytest.mark.parametrize('tau', [1.0, 4.0])
def test_kd(tau):
    assert kd(S, T, tau).tolist() == pytest.approx(
        [kl(S[b], T[b], tau) for b in range(B)], rel=1e-12
    )
    own = tau**2 * F.kl_div((S / tau).log_softmax(1), (T / tau).softmax(1), reduction='batchmean')
    torch.testing.assert_close(kd(S, T, tau).mean(), own)
    assert kd(S, S, tau).abs().max() < 1e-12


def test_standardize():
    torch.testing.assert_close(
        standardize(S), torch.stack([z(row) for row in S]), rtol=1e-12, atol=1e-12
    )
    torch.testing.assert_close(standardize(5 * S - 2), standardize(S), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('tau', [1.0, 4.0])
def test_relations(tau):
    _, batch, classes = levels(tau)
    assert batch_relation(S, T, tau).item() == pytest.approx(batch, rel=1e-12)
    assert class_relation(S, T, tau).item() == pytest.approx(classes, rel=1e-12)


@pytest.mark.parametrize('standard', [False, True])
def test_mlkd(standard):
    taus = (2.0, 3.0)
    found = [levels(tau, z if standard else lambda row: row) for tau in taus]
    instance, batch, classes = (sum(level) for level in zip(*found))
    assert mlkd(S, T, taus, standard).item() == pytest.approx(instance + batch + classes, rel=1e-12)
    p = [probs(row, 1.0) for row in T]
    shares = []
    for values in ([max(row) for row in p], [sum(column) for column in zip(*p)]):
        median = sorted(values)[len(values) // 2]
        shares.append(sum(v <= median for v in values) / len(values))
    assert shares == [3 / 5, 4 / 7]
    expected = shares[0] * (instance + batch) + shares[1] * classes
    assert mlkd(S, T, taus, standard, as_in_code=True).item() == pytest.approx(expected, rel=1e-12)


def test_feature_mse():
    student, teacher = torch.randn(2, 3, 4, 2, 2, dtype=torch.float64)
    expected = [
        sum((a - b) ** 2 for a, b in zip(s.flatten().tolist(), t.flatten().tolist())) / 16
        for s, t in zip(student, teacher)
    ]
    assert feature_mse(student, teacher).tolist() == pytest.approx(expected, rel=1e-12)


def test_the_classes():
    expected = 2 * kd(standardize(S), standardize(T), 3)
    torch.testing.assert_close(LogitStdKDLoss(tau=3, loss_weight=2)(S, T), expected.mean())
    torch.testing.assert_close(
        LogitStdKDLoss(tau=3, loss_weight=2, reduction='none')(S, T), expected
    )
    torch.testing.assert_close(
        MLKDLoss((2, 3), 5, standardize=True)(S, T), 5 * mlkd(S, T, (2, 3), True)
    )
    torch.testing.assert_close(FeatureMSELoss(2)(S, T), 2 * feature_mse(S, T).mean())
    for make in (
        lambda: LogitStdKDLoss(reduction='sum'),
        lambda: FeatureMSELoss(reduction='batchmean'),
    ):
        with pytest.raises(ValueError, match='reduction must be one of'):
            make()
    for taus in ((), (4, 0)):
        with pytest.raises(ValueError, match='taus must be one or more positive temperatures'):
            MLKDLoss(taus)


@pytest.mark.parametrize('loss', [LogitStdKDLoss(), MLKDLoss(standardize=True), FeatureMSELoss()])
def test_gradients_reach_student_and_teacher(loss):
    """θ's gradient flows through the teacher."""
    student, teacher = S.clone().requires_grad_(), T.clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (student, teacher))
