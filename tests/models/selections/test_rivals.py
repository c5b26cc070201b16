"""Each rival as a lane: its whole loss and gradient against the paper's formula in a plain loop."""

import copy
import itertools
import math

import pytest
import torch
from scipy.stats import chisquare
from toys import (
    bilevel,
    built,
    differing,
    dynakd_cfg,
    kd_distiller_cfg,
    made_batch,
    prepared,
    snapshot,
    teacher_cfg,
)

from mmdynakd.functional import Draws
from mmdynakd.functional.weightings import min_norm_weights
from mmdynakd.models.selections import ConfidenceAware, GradientSpace, RandomSubset

NAMES = ['t0', 't1', 't2']
TAU, WEIGHT, LABELS = 4.0, 0.9, 0.1
UNREDUCED = kd_distiller_cfg(reduction='none')


def kl(student, teacher):
    """τ² KL(teacher ‖ student) of one sample, summed over the classes one by one."""
    p, q = (teacher / TAU).softmax(0), (student / TAU).softmax(0)
    return WEIGHT * TAU**2 * sum(p[c] * (p[c].log() - q[c].log()) for c in range(len(p)))


def cross_entropy(logits, label):
    return -logits.log_softmax(0)[label]


def entropy(logits):
    p = logits.softmax(0)
    return -(p * p.log()).sum()


def ebkd(student, teachers, label):
    h = [entropy(t) for t in teachers]
    return sum((1 - h[k] / sum(h)) / (len(h) - 1) * kl(student, t) for k, t in enumerate(teachers))


def camkd(student, teachers, label):
    e = [cross_entropy(t, label).exp() for t in teachers]
    return sum((1 - e[k] / sum(e)) / (len(e) - 1) * kl(student, t) for k, t in enumerate(teachers))


def mean_of_losses(student, teachers, label):
    return sum(kl(student, t) for t in teachers) / len(teachers)


def mean_of_logits(student, teachers, label):
    return kl(student, sum(teachers) / len(teachers))


BY_SAMPLE = {  # lane, and the loss of one sample
    'AVER, logits': (dict(selection=dict(type='mmdynakd.Average')), mean_of_logits),
    'AVER, losses': (
        dict(selection=dict(type='mmdynakd.Average'), mix='losses'),
        mean_of_losses,
    ),
    'EBKD': (
        dict(
            selection=dict(type='mmdynakd.EntropyWeighted'),
            mix='losses',
            distiller=UNREDUCED,
        ),
        ebkd,
    ),
    'EBKD, public code': (
        dict(
            selection=dict(type='mmdynakd.EntropyWeighted', as_in_code=True),
            mix='losses',
            distiller=UNREDUCED,
        ),
        lambda *args: 2 / 3 * ebkd(*args),
    ),
    'CA-MKD': (
        dict(
            selection=dict(type='mmdynakd.ConfidenceAware'),
            mix='losses',
            distiller=UNREDUCED,
        ),
        camkd,
    ),
    'CA-MKD, public code': (
        dict(
            selection=dict(type='mmdynakd.ConfidenceAware', as_in_code=True),
            mix='losses',
            distiller=UNREDUCED,
        ),
        lambda *args: camkd(*args) / 3,
    ),
}
LANES = {
    **{name: lane for name, (lane, _) in BY_SAMPLE.items()},
    'AEKD': dict(selection=dict(type='mmdynakd.GradientSpace'), mix='losses'),
    'subset': dict(selection=dict(type='mmdynakd.RandomSubset', drop=1), mix='losses'),
}


def of_lane(lane, teachers=3, **options):
    return built(
        dynakd_cfg(teachers, lanes=dict(a=lane), student_loss_weight=LABELS, **options)
    ).double()


def outputs(model, inputs):
    student = model.lanes['a'].student(model._student_inputs(inputs))
    records = model.ensemble.run(model.ensemble.names, inputs)
    return student, [records[name]['outputs'][0] for name in model.ensemble.names]


def agree(model, losses, expected):
    """The total of the lane's losses and the gradient of all that trains."""
    total = sum(value for key, value in losses.items() if 'loss' in key)
    torch.testing.assert_close(total, expected, rtol=1e-10, atol=0)
    weights = [p for p in model.lanes['a'].parameters() if p.requires_grad]
    for got, wanted in zip(
        torch.autograd.grad(total, weights, allow_unused=True),
        torch.autograd.grad(expected, weights, allow_unused=True),
    ):
        assert (got is None) == (wanted is None)
        if got is not None:
            torch.testing.assert_close(got, wanted, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize('name', BY_SAMPLE)
def test_a_rival_is_its_formula(name):
    lane, formula = BY_SAMPLE[name]
    model = of_lane(lane)
    inputs, samples = prepared(model, made_batch(5, seed=4))
    losses = model.loss(inputs, samples)
    student, teachers = outputs(model, inputs)
    labels = [int(sample.gt_label) for sample in samples]
    expected = (
        sum(
            formula(student[b], [t[b] for t in teachers], labels[b])
            + LABELS * cross_entropy(student[b], labels[b])
            for b in range(5)
        )
        / 5
    )
    agree(model, losses, expected)


@pytest.mark.parametrize('seed', [0, 4, 5])  # all weights inside; one at 0; one at its bound
def test_aekd_is_its_formula(seed):
    model = of_lane(LANES['AEKD'])
    inputs, samples = prepared(model, made_batch(5, seed=seed))
    losses = model.loss(inputs, samples)
    student, teachers = outputs(model, inputs)
    logits, own, gradients = student.detach().requires_grad_(), [], []
    for teacher in teachers:
        loss = sum(kl(logits[b], teacher[b]) for b in range(5)) / 5
        gradients.append(torch.autograd.grad(loss, logits)[0].mean(0))
        own.append(sum(kl(student[b], teacher[b]) for b in range(5)) / 5)
    weights = min_norm_weights(torch.stack(gradients), 0.6)
    assert len({round(weight, 3) for weight in weights.tolist()}) == 3  # not the average
    labels = sum(cross_entropy(student[b], int(samples[b].gt_label)) for b in range(5)) / 5
    torch.testing.assert_close(
        sum(losses.values()),
        LABELS * labels + sum(w * loss for w, loss in zip(weights, own)),
        rtol=1e-7,
        atol=0,
    )


def feature_distiller(channels):
    """Whole CA-MKD: KL of the logits, and squared distances of last features behind connectors."""
    cfg = copy.deepcopy(UNREDUCED)
    for recorders in (cfg['student_recorders'], cfg['teacher_recorders']):
        recorders['feature'] = dict(type='ModuleOutputs', source='backbone.conv2')
    cfg['connectors'] = dict(
        adapt=dict(
            type='ConvModuleConnector',
            in_channel=4,
            out_channel=channels,
            norm_cfg=None,
            act_cfg=None,
        )
    )
    cfg['distill_losses']['loss_feature'] = dict(
        type='mmdynakd.FeatureMSELoss', loss_weight=0.5, reduction='none'
    )
    cfg['loss_forward_mappings']['loss_feature'] = dict(
        preds_S=dict(from_student=True, recorder='feature', connector='adapt'),
        preds_T=dict(from_student=False, recorder='feature'),
    )
    return cfg


def test_camkds_feature_part_is_its_formula():
    """Weights from each teacher's classifier on the student's feature, behind its connector."""
    channels = dict(t0=6, t1=8, t2=4)
    teachers = {name: teacher_cfg(channels=width) for name, width in channels.items()}
    distiller = {name: feature_distiller(width) for name, width in channels.items()}
    lane = dict(
        selection=dict(type='mmdynakd.ConfidenceAware', feature_losses=['loss_feature']),
        mix='losses',
        distiller=distiller,
    )
    model = of_lane(lane, teachers, distiller=distiller, mix='losses')
    inputs, samples = prepared(model, made_batch(5, seed=4))
    losses = model.loss(inputs, samples)
    student, logits = outputs(model, inputs)
    own = model.lanes['a'].student
    features, expected = own.backbone(model._student_inputs(inputs))[0], 0
    adapted = [model.lanes['a'].distiller.of(name).connectors['adapt'](features) for name in NAMES]
    for b, sample in enumerate(samples):
        label = int(sample.gt_label)
        expected = expected + camkd(student[b], [t[b] for t in logits], label)
        expected = expected + LABELS * cross_entropy(student[b], label)
        e, distances = [], []
        for name, mine in zip(NAMES, adapted):
            network = model.ensemble.networks[name]
            theirs = network.backbone(
                model.ensemble.networks[name].data_preprocessor(dict(inputs=inputs))['inputs']
            )[0]
            e.append(cross_entropy(network.head.fc(mine[b].detach().mean((1, 2))), label).exp())
            distances.append(0.5 * ((mine[b] - theirs[b]) ** 2).mean())
        expected = expected + sum((1 - e[k] / sum(e)) / 2 * d for k, d in enumerate(distances))
    agree(model, losses, expected / 5)


@pytest.mark.parametrize('name', [n for n in LANES if n != 'subset' and 'code' not in n])
def test_with_one_teacher_a_rival_is_single_teacher_kd(name):
    ends = []
    for lane in (LANES[name], dict(selection=dict(probs='t0'))):
        model = built(dynakd_cfg(1, lanes=dict(a=copy.deepcopy(lane)), student_loss_weight=LABELS))
        optim = bilevel(model)
        for step in range(3):
            model.train_step(made_batch(seed=step), optim)
        ends.append(snapshot(model.lanes['a'].student))
    if LANES[name].get('distiller'):  # summed a sample, then averaged: equal to rounding
        for key, value in ends[0].items():
            torch.testing.assert_close(value, ends[1][key], rtol=1e-5, atol=1e-7)
    else:
        assert not differing(*ends)


def test_rivals_beside_each_other_are_rivals_alone():
    lanes = {f'lane{i}': lane for i, lane in enumerate(LANES.values())}
    lanes['drawn'] = dict(selection=dict(probs=[0.2, 0.3, 0.5]))

    def end(names):
        model = built(dynakd_cfg(3, lanes={n: copy.deepcopy(lanes[n]) for n in names}))
        optim = bilevel(model)
        for step in range(3):
            model.train_step(made_batch(seed=step), optim)
        return model

    beside = end(lanes)
    for name in lanes:
        assert not differing(
            snapshot(beside.lanes[name].student), snapshot(end([name]).lanes[name].student)
        )


@pytest.mark.parametrize('drop', [0, 1, 2])
def test_every_subset_is_as_likely(drop):
    made, steps = RandomSubset(NAMES, drop), 2000
    kept = [tuple(made.choose(Draws(1, step)).weights) for step in range(steps)]
    subsets = list(itertools.combinations(NAMES, 3 - drop))
    counts = [kept.count(subset) for subset in subsets]
    assert sum(counts) == steps
    if len(subsets) > 1:
        assert chisquare(counts).pvalue > 1e-3
    assert set(made.choose(Draws(1, 0)).weights.values()) == {1 / (3 - drop)}
    assert set(RandomSubset(NAMES, drop, 'sum').choose(Draws(1, 0)).weights.values()) == {1.0}


def test_a_dropped_teacher_does_not_run():
    model = of_lane(LANES['subset'])
    ran = []
    for name, network in model.ensemble.networks.items():
        network.register_forward_pre_hook(lambda *_, name=name: ran.append(name))
    inputs, samples = prepared(model, made_batch(5))
    model.loss(inputs, samples)
    assert len(ran) == 2
    assert ran == list(RandomSubset(NAMES, 1).choose(Draws(0, 0)).weights)


def test_dgkd_adds_up_the_losses_of_those_kept():
    lane = dict(
        selection=dict(type='mmdynakd.RandomSubset', drop=1, reduction='sum'),
        mix='losses',
    )
    model = of_lane(lane)
    inputs, samples = prepared(model, made_batch(5))
    kept = list(RandomSubset(NAMES, 1).choose(Draws(0, 0)).weights)
    losses = model.loss(inputs, samples)
    student, teachers = outputs(model, inputs)
    own = {
        name: sum(kl(student[b], t[b]) for b in range(5)) / 5 for name, t in zip(NAMES, teachers)
    }
    torch.testing.assert_close(
        losses['a/loss_kl'], sum(own[name] for name in kept), rtol=1e-10, atol=0
    )


def test_weights_have_no_gradient():
    """The rules weigh the losses; the student is not trained to change its weights."""
    model = of_lane(LANES['CA-MKD'])
    seen = []
    selection = model.lanes['a'].selection
    weigh = selection.weigh
    selection.weigh = lambda choice, evidence: seen.append(weigh(choice, evidence)) or seen[-1]
    model.loss(*prepared(model, made_batch(5)))
    assert all(not weight.requires_grad for weight in seen[0].weights.values())
    assert math.isclose(sum(w[0] for w in seen[0].weights.values()), 1, rel_tol=1e-6)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: RandomSubset(NAMES, 3), 'drop must be an integer from 0 to 2'),
        (lambda: RandomSubset(NAMES, 1, 'max'), "reduction must be 'mean' or 'sum'"),
        (lambda: GradientSpace(NAMES, tau=0), 'tau and max_weight must be > 0'),
        (lambda: ConfidenceAware([]), 'at least one teacher'),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_weights_a_sample_need_losses_a_sample():
    model = of_lane(dict(selection=dict(type='mmdynakd.EntropyWeighted'), mix='losses'))
    with pytest.raises(ValueError, match="set its reduction='none'"):
        model.loss(*prepared(model, made_batch(5)))


def test_feature_weights_need_a_connector():
    lane = dict(
        selection=dict(type='mmdynakd.ConfidenceAware', feature_losses=['loss_kl']),
        mix='losses',
        distiller=UNREDUCED,
    )
    model = of_lane(lane)
    with pytest.raises(ValueError, match='compares no feature through a connector'):
        model.loss(*prepared(model, made_batch(5)))
