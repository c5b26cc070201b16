"""The rivals' weights against plain loops; AEKD's problem against its KKT conditions and a grid."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmdynakd.functional.weightings import (
    confidence_weights,
    entropy_weights,
    kd_gradients,
    min_norm_weights,
)


def made(*shape, seed=0, scale=2.0):
    return scale * torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def softmax(values):
    exps = [math.exp(v) for v in values]
    return [e / sum(exps) for e in exps]


@pytest.mark.parametrize('n', [2, 3, 5])
def test_entropy_weights_by_a_loop(n):
    logits = made(n, 4, 6)
    weights = entropy_weights(logits)
    for b in range(4):
        entropies = []
        for k in range(n):
            p = softmax(logits[k, b].tolist())
            entropies.append(-sum(v * math.log(v) for v in p))
        expected = [(1 - h / sum(entropies)) / (n - 1) for h in entropies]
        assert weights[:, b].tolist() == pytest.approx(expected, rel=1e-12)
        assert weights[:, b].argmax() == np.argmin(entropies)
    assert torch.allclose(weights.sum(0), torch.ones(4, dtype=torch.float64))


def test_entropy_weights_where_all_are_certain():
    logits = torch.zeros(3, 1, 2)
    logits[:, 0, 0] = 1e4
    assert entropy_weights(logits).flatten().tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize('n', [2, 3, 5])
def test_confidence_weights_by_a_loop(n):
    logits, labels = made(n, 4, 6, seed=1), torch.tensor([0, 3, 5, 1])
    weights = confidence_weights(logits, labels)
    for b in range(4):
        losses = [-math.log(softmax(logits[k, b].tolist())[labels[b]]) for k in range(n)]
        share = softmax(losses)
        assert weights[:, b].tolist() == pytest.approx(
            [(1 - s) / (n - 1) for s in share], rel=1e-12
        )
        assert weights[:, b].argmax() == np.argmin(losses)
    assert torch.allclose(weights.sum(0), torch.ones(4, dtype=torch.float64))


def test_a_single_teacher_has_weight_one():
    logits = made(1, 4, 6)
    ones = torch.ones(1, 4, dtype=torch.float64)
    assert torch.equal(entropy_weights(logits), ones)
    assert torch.equal(confidence_weights(logits, torch.tensor([0, 3, 5, 1])), ones)
    assert min_norm_weights(made(1, 6), 0.6).tolist() == [1.0]


def test_kd_gradients_are_autograds():
    student, teachers, tau = made(4, 6, seed=2).requires_grad_(), made(3, 4, 6, seed=3), 4.0
    for k, gradient in enumerate(kd_gradients(student.detach(), teachers, tau)):
        loss = tau**2 * F.kl_div(
            (student / tau).log_softmax(1), (teachers[k] / tau).softmax(1), reduction='batchmean'
        )
        (own,) = torch.autograd.grad(loss, student)
        torch.testing.assert_close(gradient, own.sum(0), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize('scale', [1.0, 1e-4, 1e3])
@pytest.mark.parametrize('bound', [0.4, 0.6, 1.0, 2.0])
@pytest.mark.parametrize('n', [3, 5])
def test_min_norm_weights_are_optimal(n, bound, scale):
    """KKT: feasible; 2Ga is one value λ where 0 < a < C, >= λ where a = 0, <= λ where a = C."""
    for seed in range(5):
        gradients = made(n, 8, seed=seed, scale=scale)
        a = min_norm_weights(gradients, bound)
        c = min(bound, 1.0)
        assert a.sum() == pytest.approx(1, abs=1e-9)
        assert a.min() >= -1e-9
        assert a.max() <= c + 1e-6
        slope = (gradients @ gradients.T @ a) / (gradients**2).sum(1).mean()
        inner = slope[(a > 1e-6) & (a < c - 1e-6)]
        level = inner.mean() if len(inner) else slope[a > 1e-6].max()
        assert torch.all((inner - level).abs() < 1e-5)
        assert torch.all(slope[a <= 1e-6] > level - 1e-5)
        assert torch.all(slope[a >= c - 1e-6] < level + 1e-5)


def test_min_norm_weights_beat_every_point_of_a_grid():
    gradients = made(3, 8, seed=7)
    best = (min_norm_weights(gradients, 0.6)[:, None] * gradients).sum(0).norm()
    steps = np.linspace(0, 0.6, 61)
    points = [
        (x, y, 1 - x - y)
        for x, y in itertools.product(steps, steps)
        if -1e-9 <= 1 - x - y <= 0.6 + 1e-9
    ]
    norms = [
        torch.linalg.vector_norm(torch.tensor(p, dtype=torch.float64) @ gradients) for p in points
    ]
    assert len(points) > 500
    assert best <= min(norms) + 1e-9


def test_the_bound_between_average_and_free():
    gradients = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    assert min_norm_weights(gradients, 1 / 3).tolist() == pytest.approx([1 / 3] * 3)
    assert min_norm_weights(gradients, 0.1).tolist() == pytest.approx([1 / 3] * 3)
    # Free: of two orthogonal gradients the weights are inversely proportional to their squared
    # norms.
    assert min_norm_weights(gradients, 1.0).tolist() == pytest.approx([0.8, 0.2, 0.0], abs=1e-6)
    assert min_norm_weights(torch.zeros(3, 2), 1.0).tolist() == pytest.approx([1 / 3] * 3)


def test_no_generator_is_disturbed():
    before = np.random.get_state()[1].tolist(), np.random.get_state()[2], torch.get_rng_state()  # noqa: NPY002
    min_norm_weights(made(3, 6), 0.6)
    after = np.random.get_state()  # noqa: NPY002
    assert (after[1].tolist(), after[2]) == before[:2]
    assert torch.equal(torch.get_rng_state(), before[2])
