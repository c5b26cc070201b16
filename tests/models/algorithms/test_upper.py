"""θ-gradients beyond the paper, each against finite differences of its definition, in float64."""

import copy
import math

import numpy as np
import pytest
import torch
from toys import (
    bilevel,
    built,
    dynakd_cfg,
    kd_distiller_cfg,
    made_batch,
    snapshot,
    student_cfg,
    upper_batch,
)

from mmdynakd.functional import NoHypergradientError, unrolled
from mmdynakd.functional.draws import GUMBEL
from mmdynakd.models.algorithms.upper import unrolled_upper_loss, upper_loss

STEP, LR = 1e-5, 0.3
TAU, WEIGHT, LABELS = 4.0, 0.9, 0.1
ALPHA = torch.tensor([0.7, -0.4, 0.1], dtype=torch.float64)


def searching(student=None, mix='outputs', distiller=None, **selection):
    """A float64 search away from the uniform θ, with a batch for the upper and the virtual step."""
    cfg = dynakd_cfg(
        3,
        student,
        distiller,
        mix=mix,
        student_loss_weight=LABELS,
        draw_seed=5,
        selection=selection,
    )
    model = built(cfg).double()
    lane = model.lanes['search']
    alpha = (
        ALPHA
        if lane.selection.num_classes is None
        else torch.stack([ALPHA * k for k in (1, -1, 0.5, 2, 0)])
    )
    lane.selection.alpha.data = alpha.clone()
    return lane, upper_batch(model, made_batch(seed=3)), upper_batch(model, made_batch(seed=4))


def numeric(lane, function):
    """Central differences over α of ``function()``."""
    alpha = lane.selection.alpha.data
    gradient = torch.zeros_like(alpha)
    for index in np.ndindex(*alpha.shape):
        values = []
        for sign in (1, -1):
            alpha[index] += sign * STEP
            values.append(function())
            alpha[index] -= sign * STEP
        gradient[index] = (values[0] - values[1]) / (2 * STEP)
    return gradient


def weights_of(lane, batch):
    """The mix's weights by teacher, written out: softmax of α / t of a class, with noise."""
    selection = lane.selection
    logits = torch.log_softmax(selection.alpha.data / selection.temperature, -1)
    if selection.num_classes:
        logits = logits[batch.labels]
    if selection.gumbel_temperature:
        per_sample = selection.granularity == 'sample'
        u = torch.from_numpy(
            batch.draws.uniforms(3 * len(batch.labels) if per_sample else 3, GUMBEL)
        )
        noise = -(-u.log()).log()
        logits = (
            logits + (noise.view(-1, 3) if per_sample else noise)
        ) / selection.gumbel_temperature
    return logits.softmax(-1).expand(len(batch.inputs), 3)


def kl(student, teacher):
    p, log_q = (teacher / TAU).softmax(1), (student / TAU).log_softmax(1)
    return WEIGHT * TAU**2 * (p * (p.log() - log_q)).sum(1)


def relaxed(lane, batch, student):
    """L_d of the relaxed teacher by a loop over the samples."""
    teachers = [batch.records[t]['outputs'][0] for t in lane.selection.teachers]
    weights, total = weights_of(lane, batch), 0
    for b in range(len(batch.inputs)):
        rows = [t[b : b + 1] for t in teachers]
        if lane.distiller.mix == 'outputs':
            total = total + kl(student[b : b + 1], sum(w * t for w, t in zip(weights[b], rows)))
        else:
            total = total + sum(w * kl(student[b : b + 1], t) for w, t in zip(weights[b], rows))
    return total.squeeze() / len(batch.inputs)


def label_loss(student, batch, logits):
    return torch.nn.functional.cross_entropy(logits, batch.labels)


def by_hand(lane, val, train, lr):
    """Label loss on ``val`` after one real SGD step of a copy of the student on ``train``."""
    student = copy.deepcopy(lane.student).train()
    torch.manual_seed(int(np.random.SeedSequence([5, 0, 0]).generate_state(1, np.uint64)[0]))
    logits = student(train.inputs)
    (LABELS * label_loss(student, train, logits) + relaxed(lane, train, logits)).backward()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter -= lr * parameter.grad
        for buffer, kept in zip(student.buffers(), lane.student.buffers()):
            buffer.copy_(kept)
        return label_loss(student, val, student.eval()(val.inputs)).item()


def entropy_of(lane):
    theta = (lane.selection.alpha.data / lane.selection.temperature).softmax(-1)
    return -(theta * theta.log()).sum(-1).mean().item()


STUDENTS = dict(
    conv=student_cfg(), batchnorm=student_cfg(backbone='resnet'), dropout=student_cfg(dropout=0.5)
)
PER_SAMPLE = kd_distiller_cfg(reduction='none')
OPTIONS = {
    'plain': {},
    'temperature': dict(temperature=2.5),
    'entropy': dict(entropy_weight=0.3, temperature=1.5),
    'gumbel': dict(gumbel_temperature=0.7),
    'gumbel a sample': dict(gumbel_temperature=0.7, granularity='sample'),
    'class-conditional': dict(num_classes=5, entropy_weight=0.2),
    'class-conditional gumbel': dict(num_classes=5, gumbel_temperature=0.7),
}


@pytest.mark.parametrize('n', [1, 2, 5])
def test_unrolled_on_a_quadratic_problem(n):
    """L_train = ½‖w − Aθ‖², L_val = ½‖w − b‖²: w' = w − ξ(w − Aθ), dL_val/dθ = ξ Aᵀ(w' − b)."""
    generator = torch.Generator().manual_seed(n)
    made = [
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((4, n), (4,), (4,))
    ]
    a, b, w = made
    theta = torch.linspace(0.2, 0.8, n, dtype=torch.float64).requires_grad_()
    loss = unrolled(
        theta,
        dict(w=w.requires_grad_()),
        lambda p, t: 0.5 * ((p['w'] - a @ t) ** 2).sum(),
        lambda p: 0.5 * ((p['w'] - b) ** 2).sum(),
        LR,
    )
    moved = w.detach() - LR * (w.detach() - a @ theta.detach())
    (gradient,) = torch.autograd.grad(loss, theta)
    torch.testing.assert_close(loss.detach(), 0.5 * ((moved - b) ** 2).sum(), rtol=1e-14, atol=0)
    torch.testing.assert_close(gradient, LR * a.T @ (moved - b), rtol=1e-12, atol=1e-14)


def test_unrolled_without_theta_in_the_training_loss_is_an_error():
    theta = torch.ones(2, requires_grad=True)
    with pytest.raises(
        NoHypergradientError, match='training loss has no gradient with respect to θ'
    ):
        unrolled(
            theta,
            dict(w=torch.ones(3, requires_grad=True)),
            lambda p, t: (p['w'] ** 2).sum(),
            lambda p: p['w'].sum(),
            LR,
        )


@pytest.mark.parametrize('mix', ['outputs', 'losses'])
@pytest.mark.parametrize('student', STUDENTS)
def test_unrolled_gradient_of_a_lane(student, mix):
    lane, val, train = searching(STUDENTS[student], mix)
    loss = unrolled_upper_loss(lane, val, train, LR)
    (gradient,) = torch.autograd.grad(loss, lane.selection.alpha)
    assert loss.item() == pytest.approx(by_hand(lane, val, train, LR), rel=1e-10)
    expected = numeric(lane, lambda: by_hand(lane, val, train, LR))
    assert expected.abs().max() > 1e-6
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize('mix', ['outputs', 'losses'])
@pytest.mark.parametrize('option', OPTIONS)
def test_options_under_both_objectives(option, mix):
    lane, val, train = searching(STUDENTS['conv'], mix, PER_SAMPLE, **OPTIONS[option])
    penalty = lane.selection.entropy_weight

    def first_by_hand():
        return relaxed(lane, val, lane.student(val.inputs).detach()).item() - penalty * entropy_of(
            lane
        )

    def second_by_hand():
        return by_hand(lane, val, train, LR) - penalty * entropy_of(lane)

    for loss, function in (
        (upper_loss(lane, val), first_by_hand),
        (unrolled_upper_loss(lane, val, train, LR), second_by_hand),
    ):
        (gradient,) = torch.autograd.grad(loss, lane.selection.alpha)
        assert loss.item() == pytest.approx(function(), rel=1e-10)
        expected = numeric(lane, function)
        assert expected.abs().max() > 1e-6
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-9)


def test_the_entropy_term_alone_has_its_closed_form():
    """∂(−λH)/∂α_i = λ/t · θ_i (log θ_i + H)."""
    lane, *_ = searching(entropy_weight=0.3, temperature=1.5)
    theta = lane.selection.theta()
    (gradient,) = torch.autograd.grad(lane.selection.regularizer(theta), lane.selection.alpha)
    theta = theta.detach()
    expected = 0.3 / 1.5 * theta * (theta.log() + entropy_of(lane))
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-15)


def test_the_virtual_step_moves_nothing():
    """Weights, BatchNorm buffers, gradients and the lane's mode are as before."""
    for cfg in STUDENTS.values():
        lane, val, train = searching(cfg)
        before = snapshot(lane)
        unrolled_upper_loss(lane, val, train, LR).backward()
        assert all(torch.equal(before[key], value) for key, value in snapshot(lane).items())
        assert [name for name, p in lane.named_parameters() if p.grad is not None] == [
            'selection.alpha'
        ]
        assert lane.training
        assert lane.student.training


def test_unrolled_prefers_the_teacher_that_helps_the_labels():
    """First order rewards the teacher nearest to the student; unrolled, the label loss."""
    model = built(dynakd_cfg(2, student_loss_weight=0.0)).double()
    lane = model.lanes['search']
    val = upper_batch(model, made_batch(12, seed=1))
    with torch.no_grad():
        twin = lane.student.eval()(val.inputs)
    val.records['t0']['outputs'][0] = twin
    right = 6 * torch.nn.functional.one_hot(val.labels, 5).double()
    for name, logits in (('t0', twin), ('t1', right)):
        val.records[name] = {key: [logits] for key in val.records[name]}
    (first,) = torch.autograd.grad(upper_loss(lane, val), lane.selection.alpha)
    (second,) = torch.autograd.grad(unrolled_upper_loss(lane, val, val, LR), lane.selection.alpha)
    assert first[0] < 0 < first[1]  # descent raises t0, the student's twin
    assert second[1] < 0 < second[0]


def test_the_algorithm_takes_an_unrolled_step():
    """ξ is the student's learning rate at hand, or virtual_lr; both batches reach their sides."""
    options = dict(upper_objective='unrolled', student_loss_weight=LABELS, draw_seed=5)
    found = {}
    for name, extra in (
        ('lr', {}),
        ('own', dict(virtual_lr=0.05)),
        ('other', dict(virtual_lr=0.01)),
    ):
        model = built(dynakd_cfg(3, **options, **extra))
        optim = bilevel(model, lr=0.05)
        found[name] = model.upper_step(made_batch(seed=3), optim, made_batch(seed=4))[
            'search'
        ].item()
        assert len(set(model.lanes['search'].selection.probs())) == 3
    lane = built(dynakd_cfg(3, **options)).lanes['search']
    model = built(dynakd_cfg(3, **options))
    lane = model.lanes['search']
    expected = by_hand(
        lane, upper_batch(model, made_batch(seed=3)), upper_batch(model, made_batch(seed=4)), 0.05
    )
    assert found['lr'] == found['own'] == pytest.approx(expected, rel=1e-5)
    assert not math.isclose(found['other'], expected, rel_tol=1e-5)
    with pytest.raises(ValueError, match='give train_data'):
        model.upper_step(made_batch(), bilevel(model))


def test_under_autocast_the_virtual_step_is_in_full_precision():
    found = []
    for enabled in (False, True):
        model = built(dynakd_cfg(3, student_cfg(backbone='resnet'), upper_objective='unrolled'))
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            model.upper_step(made_batch(seed=3), bilevel(model), made_batch(seed=4))
        found.append(model.lanes['search'].selection.probs())
    assert found[0] == pytest.approx(found[1], abs=1e-3)
    assert len(set(found[1])) == 3


def test_lanes_may_search_by_different_objectives():
    lanes = dict(first={}, second=dict(upper_objective='unrolled'))
    model = built(dynakd_cfg(3, lanes=lanes))
    losses = model.upper_step(made_batch(seed=3), bilevel(model), made_batch(seed=4))
    alone = built(dynakd_cfg(3, lanes=dict(second=lanes['second'])))
    own = alone.upper_step(made_batch(seed=3), bilevel(alone), made_batch(seed=4))
    assert torch.equal(losses['second'], own['second'])
    assert torch.equal(model.lanes['second'].selection.alpha, alone.lanes['second'].selection.alpha)
    assert not torch.equal(
        model.lanes['first'].selection.alpha, model.lanes['second'].selection.alpha
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(upper_objective='second'), 'upper_objective must be one of'),
        (dict(virtual_lr=0.0), 'virtual_lr must be > 0'),
        (dict(selection=dict(temperature=0)), 'temperature must be a finite number > 0'),
        (dict(selection=dict(entropy_weight=-1)), 'entropy_weight must be a finite number >= 0'),
        (
            dict(selection=dict(gumbel_temperature=0)),
            'gumbel_temperature must be a finite number > 0',
        ),
        (dict(selection=dict(granularity='epoch')), 'granularity must be one of'),
        (
            dict(selection=dict(granularity='step', num_classes=5)),
            "'sample' if num_classes is given",
        ),
        (dict(selection=dict(num_classes=0)), 'num_classes must be an integer from 1'),
    ],
)
def test_another_value_is_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        built(dynakd_cfg(3, **options))
