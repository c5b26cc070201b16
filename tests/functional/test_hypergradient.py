"""∂L/∂α of the relaxed objective (eq. 3) against finite differences and θ ⊙ (g − ⟨θ, g⟩)."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from toys import bilevel, built, dynakd_cfg, kd_distiller_cfg, made_batch, student_cfg, upper_batch

from mmdynakd.functional import NoHypergradientError, first_order
from mmdynakd.models.algorithms.upper import upper_loss
from mmdynakd.models.teachers import OUTPUTS

STEP = 1e-5
TAU, WEIGHT = 4.0, 0.9


def numeric(function, alpha):
    """Central differences of a scalar function of α."""
    gradient = torch.zeros_like(alpha)
    for i in range(len(alpha)):
        shift = torch.zeros_like(alpha)
        shift[i] = STEP
        gradient[i] = (function(alpha + shift) - function(alpha - shift)) / (2 * STEP)
    return gradient


def closed(theta, g):
    return theta * (g - (theta * g).sum())


def kl(student, teacher):
    """τ² KL(teacher ‖ student) from its definition, as MMRazor weighs it."""
    p, log_q = (teacher / TAU).softmax(1), (student / TAU).log_softmax(1)
    return WEIGHT * TAU**2 * (p * (p.log() - log_q)).sum() / len(student)


def close(first, second, tolerance):
    torch.testing.assert_close(first, second, rtol=tolerance, atol=0.0)


def searching(mix, backbone='conv', distiller=None):
    """A float64 search of three teachers away from the uniform θ, and what its upper step sees."""
    model = built(
        dynakd_cfg(3, student_cfg(backbone=backbone), mix=mix, distiller=distiller)
    ).double()
    lane = model.lanes['search']
    lane.selection.alpha.data = torch.tensor([0.7, -0.4, 0.1], dtype=torch.float64)
    return model, lane, upper_batch(model, made_batch(seed=3))


def of_alpha(lane, batch):
    def function(alpha):
        kept, lane.selection.alpha.data = lane.selection.alpha.data, alpha
        try:
            return upper_loss(lane, batch).item()
        finally:
            lane.selection.alpha.data = kept

    return function


def logits(model, lane, batch):
    with torch.no_grad():
        student = lane.student.eval()(batch.inputs)
    return student, [batch.records[name][OUTPUTS][0] for name in model.ensemble.names]


@pytest.mark.parametrize('n', [1, 2, 5])
def test_first_order_on_a_plain_function(n):
    target = torch.linspace(-1, 2, n, dtype=torch.float64)
    alpha = torch.linspace(0.5, -0.5, n, dtype=torch.float64).requires_grad_()

    def upper(theta):
        return ((theta - target) ** 2 * (1 + theta)).sum().exp().log1p()

    (gradient,) = torch.autograd.grad(first_order(alpha.softmax(0), upper), alpha)
    with torch.no_grad():
        finite = numeric(lambda a: upper(a.softmax(0)).item(), alpha.detach())
    torch.testing.assert_close(gradient, finite, rtol=1e-7, atol=1e-9)
    theta = alpha.detach().softmax(0).requires_grad_()
    (g,) = torch.autograd.grad(upper(theta), theta)
    torch.testing.assert_close(gradient, closed(theta.detach(), g), rtol=1e-12, atol=1e-14)


def test_a_loss_without_theta_is_an_error():
    alpha = torch.zeros(3, requires_grad=True)
    with pytest.raises(NoHypergradientError, match='no gradient with respect to θ'):
        first_order(alpha.softmax(0), lambda theta: theta.detach().sum())


@pytest.mark.parametrize('backbone', ['conv', 'resnet'])
@pytest.mark.parametrize('mix', ['outputs', 'losses'])
def test_alpha_gradient_of_a_lane_against_finite_differences(mix, backbone):
    _, lane, batch = searching(mix, backbone)
    loss = upper_loss(lane, batch)
    (gradient,) = torch.autograd.grad(loss, lane.selection.alpha)
    assert gradient.dtype == torch.float64
    close(gradient, numeric(of_alpha(lane, batch), lane.selection.alpha.data), 1e-6)


def test_outputs_mixed_value_and_closed_form():
    """L = L_d(Σ θ_i f_i, f_S); g_i = ⟨∂L/∂f̄, f_i⟩, with ∂L/∂f̄ written out for τ² KL."""
    model, lane, batch = searching('outputs')
    loss = upper_loss(lane, batch)
    (gradient,) = torch.autograd.grad(loss, lane.selection.alpha)
    student, teachers = logits(model, lane, batch)
    theta = lane.selection.alpha.data.softmax(0)
    mixed = sum(theta[i] * teachers[i] for i in range(3))
    close(loss.detach(), kl(student, mixed), 1e-12)
    # With r = log p − log q: ∂KL/∂f̄_c = p_c (r_c − Σ_k p_k r_k) / τ.
    p = (mixed / TAU).softmax(1)
    r = p.log() - (student / TAU).log_softmax(1)
    d_mixed = WEIGHT * TAU * p * (r - (p * r).sum(1, keepdim=True)) / len(student)
    close(gradient, closed(theta, torch.stack([(d_mixed * f).sum() for f in teachers])), 1e-9)


def test_losses_mixed_value_and_closed_form():
    """L = Σ θ_i L_i, so that g_i = L_i: the gradient is θ_i (L_i − L)."""
    model, lane, batch = searching('losses')
    loss = upper_loss(lane, batch)
    (gradient,) = torch.autograd.grad(loss, lane.selection.alpha)
    student, teachers = logits(model, lane, batch)
    theta = lane.selection.alpha.data.softmax(0)
    own = torch.stack([kl(student, f) for f in teachers])
    close(loss.detach(), (theta * own).sum(), 1e-12)
    close(gradient, closed(theta, own), 1e-9)


def test_the_student_gets_no_gradient_from_the_upper_step():
    model = built(dynakd_cfg(3))
    model.upper_step(made_batch(), bilevel(model))
    assert [name for name, p in model.named_parameters() if p.grad is not None] == []
    lane = model.lanes['search']
    upper_loss(lane, upper_batch(model, made_batch())).backward()
    assert [name for name, p in model.named_parameters() if p.grad is not None] == [
        'lanes.search.selection.alpha'
    ]


def test_the_gradient_sums_to_zero_and_vanishes_where_the_teachers_agree():
    """θ stays on the simplex however α moves; teachers of equal outputs give no reason to move."""
    _, lane, batch = searching('outputs')
    (gradient,) = torch.autograd.grad(upper_loss(lane, batch), lane.selection.alpha)
    assert abs(gradient.sum()) < 1e-14 < gradient.abs().max()
    same = {
        name: {key: batch.records['t0'][OUTPUTS] for key in own}
        for name, own in batch.records.items()
    }
    (gradient,) = torch.autograd.grad(
        upper_loss(lane, replace(batch, records=same)), lane.selection.alpha
    )
    assert gradient.abs().max() < 1e-14


@pytest.mark.parametrize('mix', ['outputs', 'losses'])
def test_two_losses_add_up(mix):
    """A distiller's losses are summed; entries without 'loss' in their name are statistics."""
    cfg = kd_distiller_cfg()
    mapping = cfg['loss_forward_mappings']['loss_kl']
    kind = dict(type='KLDivergence', teacher_detach=False)
    cfg['distill_losses'].update(loss_second=dict(kind, tau=2.0), statistic=dict(kind, tau=1.0))
    cfg['loss_forward_mappings'].update(loss_second=mapping, statistic=mapping)
    model, lane, batch = searching(mix, distiller=cfg)
    student, teachers = logits(model, lane, batch)
    theta = lane.selection.alpha.data.softmax(0)

    def second(teacher):
        return 4 * F.kl_div(
            (student / 2).log_softmax(1), (teacher / 2).softmax(1), reduction='batchmean'
        )

    mixed = sum(theta[i] * teachers[i] for i in range(3))
    expected = (
        kl(student, mixed) + second(mixed)
        if mix == 'outputs'
        else sum(theta[i] * (kl(student, teachers[i]) + second(teachers[i])) for i in range(3))
    )
    close(upper_loss(lane, batch).detach(), expected, 1e-12)
