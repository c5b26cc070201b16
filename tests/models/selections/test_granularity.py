"""One teacher a sample, and Cat(θ_y): draws, shares, losses against a loop over the samples."""

import copy

import numpy as np
import pytest
import torch
from runs import read, run, search_config
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

from mmdynakd.functional import Draws, invert_cdf, invert_cdfs, uniform, uniforms
from mmdynakd.functional.draws import SAMPLES
from mmdynakd.models.selections import CategoricalDistribution

NAMES = ['t0', 't1', 't2']
TAU, WEIGHT = 4.0, 0.9
BY_CLASS = [[1.0, 0.0, 0.0], [0.2, 0.3, 0.5], [0.0, 0.5, 0.5], [0.6, 0.3, 0.1], [1 / 3] * 3]


def sampled(unreduced=True, **selection):
    distiller = kd_distiller_cfg(reduction='none') if unreduced else kd_distiller_cfg()
    return built(
        dynakd_cfg(
            3,
            distiller=distiller,
            student_loss_weight=0.0,
            selection=dict(probs=[0.2, 0.3, 0.5], granularity='sample', **selection),
        )
    )


def drawn_by_hand(model, samples):
    """Index of the teacher of each sample, and its probability."""
    selection = model.lanes['search'].selection
    labels = [int(sample.gt_label) for sample in samples]
    rows = [
        selection.probs()[label] if selection.num_classes else selection.probs() for label in labels
    ]
    u = uniforms(0, model.step, len(labels), SAMPLES)
    return [invert_cdf(row, float(number)) for row, number in zip(rows, u)], rows


def kl(student, teacher):
    p, log_q = (teacher / TAU).softmax(1), (student / TAU).log_softmax(1)
    return WEIGHT * TAU**2 * (p * (p.log() - log_q)).sum()


@pytest.mark.parametrize('probs', [[0.2, 0.3, 0.5], [0.0, 1.0, 0.0], [0.7, 0.0, 0.3]])
def test_rows_are_drawn_as_one_by_one(probs):
    u = np.concatenate([np.linspace(0, 1, 101)[:-1], np.cumsum(probs)[:-1], [1 - 2.0**-53]])
    rows = np.broadcast_to(probs, (len(u), 3))
    assert invert_cdfs(rows, u).tolist() == [invert_cdf(probs, float(value)) for value in u]


def test_samples_draw_with_their_probabilities_and_independently():
    theta, steps, batch = [0.2, 0.3, 0.5], 500, 16
    made = CategoricalDistribution(NAMES, theta, granularity='sample')
    labels = torch.zeros(batch, dtype=torch.long)
    drawn = np.zeros((steps, batch), int)
    for step in range(steps):
        choice = made.choose(Draws(3, step), labels)
        for name, rows in choice.rows.items():
            drawn[step, rows.numpy()] = NAMES.index(name)
    counts = np.bincount(drawn.ravel(), minlength=3)
    assert chisquare(counts, np.array(theta) * steps * batch).pvalue > 1e-3
    for first, second in (
        (drawn[:, :-1], drawn[:, 1:]),
        (drawn[:-1], drawn[1:]),
    ):  # neighbours in the batch, in time
        joint = np.bincount((3 * first + second).ravel(), minlength=9)
        assert chisquare(joint, np.outer(theta, theta).ravel() * joint.sum()).pvalue > 1e-3


def test_streams_and_steps_share_no_number():
    seen = [uniforms(7, step, 50, stream) for step in range(20) for stream in (1, 2, 3)]
    seen.append(np.array([uniform(7, step) for step in range(1000)]))
    numbers = np.concatenate(seen)
    assert len(np.unique(numbers)) == len(numbers)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.02


@pytest.mark.parametrize('world', [2, 4])
def test_ranks_deal_out_the_numbers_of_one_process(world):
    whole = Draws(1, 9).per_sample(8, columns=2)
    parts = [Draws(1, 9, rank, world).per_sample(8 // world, columns=2) for rank in range(world)]
    assert np.array_equal(np.stack(parts, 1).reshape(8, 2), whole)


@pytest.mark.parametrize('mode', ['paper', 'none', 'normalized'])
@pytest.mark.parametrize(
    'options', [{}, dict(num_classes=5, probs=BY_CLASS)], ids=['one theta', 'one a class']
)
def test_the_loss_is_that_of_a_loop_over_the_samples(options, mode):
    model = built(
        dynakd_cfg(
            3,
            distiller=kd_distiller_cfg(reduction='none'),
            student_loss_weight=0.0,
            selection=dict(
                dict(probs=[0.2, 0.3, 0.5], granularity='sample'),
                **options,
                weight_by_probability=mode,
            ),
        )
    ).double()
    inputs, samples = prepared(model, made_batch(12, seed=4))
    for _ in range(3):
        index, rows = drawn_by_hand(model, samples)
        assert len(set(index)) > 1
        loss = model.loss(inputs, samples)['search/loss_kl']
        lane, expected = model.lanes['search'], 0
        student = lane.student(model._student_inputs(inputs))
        for b, (i, theta) in enumerate(zip(index, rows)):
            teacher = model.ensemble.run([NAMES[i]], inputs[b : b + 1])[NAMES[i]]['outputs'][0]
            scale = {
                'paper': theta[i],
                'none': 1.0,
                'normalized': theta[i] / sum(p * p for p in theta),
            }[mode]
            expected = expected + scale * kl(student[b : b + 1], teacher) / len(index)
        torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
        weights = list(lane.student.parameters())
        for got, wanted in zip(
            torch.autograd.grad(loss, weights), torch.autograd.grad(expected, weights)
        ):
            torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-12)


def test_each_teacher_runs_once_on_its_share():
    model, seen = sampled(), {}
    for name, network in model.ensemble.networks.items():
        network.register_forward_pre_hook(
            lambda _, args, name=name: seen.setdefault(name, []).append(len(args[0]))
        )
    inputs, samples = prepared(model, made_batch(12, seed=4))
    index, _ = drawn_by_hand(model, samples)
    model.loss(inputs, samples)
    assert seen == {NAMES[i]: [index.count(i)] for i in sorted(set(index))}
    assert sum(own[0] for own in seen.values()) == 12


def test_features_of_a_share_are_zero_elsewhere():
    model = built(dynakd_cfg(2))
    inputs, _ = prepared(model, made_batch(6))
    rows = torch.tensor([1, 4])
    part, whole = (model.ensemble.run(['t0'], inputs, kept)['t0'] for kept in (dict(t0=rows), None))
    for key, records in part.items():
        for got, full in zip(records, whole[key]):
            torch.testing.assert_close(got[rows], full[rows])
            others = torch.tensor([0, 2, 3, 5])
            assert got.shape == full.shape
            assert not got[others].any()


def test_one_hot_a_sample_is_the_single_teacher_exactly():
    """Every sample draws the same teacher: weights and BatchNorm end as with one draw a step."""
    ends = []
    for extra in ({}, dict(granularity='sample')):
        model = built(
            dynakd_cfg(
                3,
                lanes=dict(a=dict(selection=dict(probs='t1', **extra))),
                distiller=kd_distiller_cfg(reduction='none'),
            )
        )
        optim = bilevel(model)
        for step in range(4):
            model.train_step(made_batch(seed=step), optim)
        ends.append(snapshot(model.lanes['a'].student))
    assert not differing(*ends)


def test_lanes_that_differ_in_their_shares_do_not_disturb_each_other():
    """A teacher runs on the union of the lanes' samples: equal to the lanes alone to rounding."""
    lanes = dict(
        a=dict(selection=dict(granularity='sample')),
        b=dict(selection=dict(probs='uniform')),
        c=dict(selection=dict(granularity='sample', probs=[0.0, 0.5, 0.5])),
    )
    for lane in lanes.values():
        lane['selection'].setdefault('probs', [0.7, 0.2, 0.1])

    def end(names):
        model = built(
            dynakd_cfg(
                3,
                lanes={n: copy.deepcopy(lanes[n]) for n in names},
                distiller=kd_distiller_cfg(reduction='none'),
            )
        )
        optim = bilevel(model)
        for step in range(3):
            model.train_step(made_batch(12, seed=step), optim)
        return model

    beside = end('abc')
    for name in 'abc':
        alone = snapshot(end(name).lanes[name].student)
        for key, value in snapshot(beside.lanes[name].student).items():
            torch.testing.assert_close(value, alone[key], rtol=1e-5, atol=1e-6)


def test_a_probability_a_sample_needs_a_loss_a_sample():
    model = sampled(unreduced=False)
    with pytest.raises(ValueError, match="set its reduction='none'"):
        model.loss(*prepared(model, made_batch(12)))
    model = sampled(unreduced=False, weight_by_probability='none')
    assert model.loss(*prepared(model, made_batch(12)))['search/loss_kl'] > 0


def test_a_selection_that_needs_labels_says_so():
    model = sampled()
    inputs, samples = prepared(model, made_batch(4))
    del samples[2].gt_label
    with pytest.raises(ValueError, match='not every data sample has one gt_label'):
        model.loss(inputs, samples)


@pytest.mark.parametrize(
    ('probs', 'message'),
    [
        ([[0.5, 0.5, 0.0]] * 4, 'θ of 3 classes|θ must'),
        (dict(t0=[1.0] * 4), 'probs of 4 classes, where num_classes=5'),
        ([*BY_CLASS[:4], [0.5, 0.6, 0.0]], 'class 4: θ sums to 1.1'),
    ],
)
def test_a_theta_of_other_classes_is_an_error(probs, message):
    with pytest.raises(ValueError, match=message):
        CategoricalDistribution(NAMES, probs, num_classes=5)


def test_class_conditional_theta_by_teacher_is_taken_again():
    made = CategoricalDistribution(NAMES, BY_CLASS, num_classes=5)
    again = CategoricalDistribution(NAMES, made.by_teacher(), num_classes=5)
    np.testing.assert_allclose(again.probs(), made.probs(), rtol=0, atol=1e-15)
    assert made.marginal() == pytest.approx(dict(zip(NAMES, np.mean(BY_CLASS, 0))))
    assert (
        CategoricalDistribution(NAMES, [0.2, 0.3, 0.5], num_classes=2).probs()
        == [[0.2, 0.3, 0.5]] * 2
    )


def test_a_lane_may_employ_some_of_the_teachers():
    lanes = dict(
        search=dict(teachers=['t2', 't0']),
        other=dict(teachers=['t1'], selection=dict(probs='t1')),
    )
    model = built(dynakd_cfg(3, lanes=lanes))
    ran = []
    for name, network in model.ensemble.networks.items():
        network.register_forward_pre_hook(lambda *_, name=name: ran.append(name))
    model.upper_step(made_batch(), bilevel(model))
    assert sorted(ran) == ['t0', 't2']
    assert list(model.lanes['search'].selection.marginal()) == ['t2', 't0']
    with pytest.raises(
        ValueError, match=r'lanes.search.teachers are not all in the ensemble: \[.t9.\]'
    ):
        built(dynakd_cfg(3, lanes=dict(search=dict(teachers=['t9']))))


def test_a_class_conditional_search_is_evaluated_with_its_theta(tmp_path):
    cfg = search_config(tmp_path / 'work', **{'optim_wrapper.theta.optimizer.lr': 0.5})
    cfg.model.update(selection=dict(num_classes=10, weight_by_probability='none'))
    run(cfg)
    found = read(tmp_path / 'work', 'candidates.json')['candidates']
    theta = np.array([found[-1]['theta'][name] for name in found[-1]['theta']])
    assert theta.shape == (3, 10)
    assert np.allclose(theta.sum(0), 1)
    assert theta.std(1).min() > 1e-3
    assert {path.name for path in (tmp_path / 'work').glob('theta*')} == {
        'theta.csv',
        'theta.png',
        *(f'theta_classes_{c["name"]}.png' for c in found),
    }
    rows = {row['name']: row for row in read(tmp_path / 'work', 'results.json')['lanes']}
    for candidate in found:
        for name, values in candidate['theta'].items():
            assert rows[candidate['name']]['theta'][name] == pytest.approx(values, abs=1e-12)


def test_per_teacher_distillers_share_equal_student_recorders():
    """MMRazor's method recorders patch a class: two at once would overwrite one another."""
    method = dict(
        type='MethodOutputs', source='mmpretrain.models.heads.linear_head.LinearClsHead.pre_logits'
    )
    cfg = kd_distiller_cfg()
    for recorders in (cfg['student_recorders'], cfg['teacher_recorders']):
        recorders['logits'] = dict(type='ModuleOutputs', source='backbone.conv2')
    cfg['student_recorders'] = dict(logits=method)
    cfg['teacher_recorders'] = dict(logits=dict(type='ModuleOutputs', source='neck'))
    teachers = {name: teacher_cfg(channels=4) for name in NAMES}
    for mapping in cfg['loss_forward_mappings'].values():
        mapping['preds_T']['data_idx'] = 0
    model = built(dynakd_cfg(teachers, distiller={name: cfg for name in NAMES}, mix='losses'))
    loss = model.upper_step(made_batch(), bilevel(model))['search']
    assert torch.isfinite(loss)
    assert loss > 0
    distillers = model.lanes['search'].distiller.distillers.values()
    assert len({id(d.student_recorders.get_recorder('logits')) for d in distillers}) == 1
