"""DynaKD: eq. 4, who moves when, bit-for-bit equality with MMRazor, MMPretrain and solo runs."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper
from toys import (
    PREPROCESSOR,
    bilevel,
    built,
    differing,
    dynakd_cfg,
    kd_distiller_cfg,
    made_batch,
    prepared,
    snapshot,
    student_cfg,
    teacher_cfg,
)

from mmdynakd.functional import uniform
from mmdynakd.registry import MODELS

THETA = [0.2, 0.3, 0.5]
TAU, LR = 4.0, 0.05


def drawn(step, seed=0):
    u = uniform(seed, step)
    return 0 if u < 0.2 else 1 if u < 0.5 else 2


def train(model, optim, steps=6, upper=True):
    """``steps`` lower steps, each after an upper one; the global generator is as in a solo run."""
    for step in range(steps):
        if upper and model.searched:
            model.upper_step(made_batch(seed=100 + step), optim)
        torch.manual_seed(step)
        model.train_step(made_batch(seed=step), optim)
    return model


# --- eq. 4 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('mode', 'scales'),
    [
        ('paper', THETA),
        ('none', [1, 1, 1]),
        ('normalized', [p / 0.38 for p in THETA]),
    ],
)
def test_lower_loss_is_theta_hat_times_the_loss_of_the_teacher_drawn(mode, scales):
    model = built(dynakd_cfg(3, selection=dict(probs=THETA, weight_by_probability=mode)))
    seen = set()
    for step in range(8):
        inputs, samples = prepared(model, made_batch(seed=step))
        losses = model.loss(inputs, samples)
        index = drawn(step)
        seen.add(index)
        x = model._student_inputs(inputs)
        student, teacher = model.architecture(x), model.ensemble.networks[f't{index}'](x)
        p, log_q = (teacher / TAU).softmax(1), (student / TAU).log_softmax(1)
        distance = 0.9 * TAU**2 * (p * (p.log() - log_q)).sum() / len(x)
        labels = torch.cat([s.gt_label for s in samples])
        expected = {
            'search/student.loss': 0.1 * F.cross_entropy(student, labels),
            'search/loss_kl': scales[index] * distance,
        }
        assert losses.keys() == expected.keys()
        torch.testing.assert_close(losses, expected, rtol=2e-5, atol=1e-7)
    assert seen == {0, 1, 2}
    assert model.step == 8


def test_the_log_has_the_total_the_parts_and_unscaled_statistics():
    student = student_cfg()
    student['head']['cal_acc'] = True
    model = built(dynakd_cfg(1, student, student_loss_weight=0.1))
    inputs, samples = prepared(model, made_batch())
    log = model.train_step(made_batch(), bilevel(model))
    assert set(log) == {
        'search/loss',
        'search/student.loss',
        'search/loss_kl',
        'search/student.accuracy_top-1',
    }
    assert log['search/loss'] == log['search/student.loss'] + log['search/loss_kl']
    own = built(dynakd_cfg(1, student)).architecture
    predicted = own(model._student_inputs(inputs)).argmax(1)
    hits = (predicted == torch.cat([s.gt_label for s in samples])).float().mean()
    assert log['search/student.accuracy_top-1'] == pytest.approx(100 * hits.item())


def test_the_papers_loss_has_no_label_term():
    model = built(dynakd_cfg(3, student_loss_weight=0.0))
    assert list(model.loss(*prepared(model, made_batch()))) == ['search/loss_kl']


def test_lanes_share_the_uniform_number_and_invert_their_own_cdf():
    lanes = {
        name: dict(selection=dict(probs=probs, weight_by_probability='none'))
        for name, probs in dict(a=THETA, b=THETA, c='t1', d=[0.5, 0.3, 0.2]).items()
    }
    model = built(dynakd_cfg(3, lanes=lanes))
    totals, log = model.parse_losses(model.loss(*prepared(model, made_batch())))
    assert totals['a'] == totals['b']
    assert totals['a'] == log['a/loss']
    assert uniform(0, 0) < 0.2  # so a, b and d draw t0 at step 0, c its only teacher
    assert totals['d'] == totals['a'] != totals['c']


# --- who moves ------------------------------------------------------------------------------------


@pytest.mark.parametrize('mix', ['outputs', 'losses'])
@pytest.mark.parametrize('training', [True, False])
def test_an_upper_step_moves_alpha_alone(mix, training):
    model = built(dynakd_cfg(3, student_cfg(backbone='resnet'), mix=mix))
    optim = train_two(model)  # momentum, that a stray step of the student's optimizer would apply
    model.train(training)
    before, step = snapshot(model), model.step
    model.upper_step(made_batch(seed=9), optim)
    assert differing(before, snapshot(model)) == ['lanes.search.selection.alpha']
    assert model.step == step
    assert {m.training for m in model.lanes.modules()} == {training}


def test_a_lower_step_moves_the_student_and_not_alpha():
    model = built(dynakd_cfg(3, student_cfg(backbone='resnet')))
    optim = train_two(model)
    before = snapshot(model)
    model.train_step(made_batch(seed=9), optim)
    changed = set(differing(before, snapshot(model)))
    assert 'lanes.search.selection.alpha' not in changed
    assert changed == set(before) - {
        'lanes.search.selection.alpha'
    }  # buffers and the step counter, too


def train_two(model):
    optim = bilevel(model)
    train(model, optim, 2)
    return optim


# --- lanes and solo runs --------------------------------------------------------------------------


def features(channels):
    """L2 between feature maps, the student's through a connector, beside the KL of the logits."""
    cfg = kd_distiller_cfg()
    feat = dict(type='ModuleOutputs', source='backbone.conv2')
    for side in ('student', 'teacher'):
        cfg[f'{side}_recorders']['feat'] = dict(feat)
    cfg['connectors'] = dict(
        up=dict(type='mmrazor.ConvModuleConnector', in_channel=4, out_channel=channels)
    )
    cfg['distill_losses']['loss_feat'] = dict(type='mmrazor.L2Loss', normalize=False)
    cfg['loss_forward_mappings']['loss_feat'] = dict(
        s_feature=dict(from_student=True, recorder='feat', connector='up'),
        t_feature=dict(from_student=False, recorder='feat'),
    )
    return cfg


LANES = dict(
    search={},
    mixed=dict(mix='losses'),
    uniform=dict(selection=dict(probs='uniform')),
    fixed=dict(selection=dict(probs=THETA, weight_by_probability='none')),
    ce=dict(selection=None),
)
SIX = {f't{i}': teacher_cfg(channels=6) for i in range(3)}
CASES = dict(
    batchnorm=dict(student=student_cfg(backbone='resnet')),
    dropout=dict(student=student_cfg(dropout=0.5)),
    connectors=dict(distiller=features(6), teachers=SIX),
    dropout_connectors=dict(student=student_cfg(dropout=0.5), distiller=features(6), teachers=SIX),
)


@pytest.mark.parametrize('case', CASES)
def test_lanes_side_by_side_are_solo_runs_bit_for_bit(case):
    together = built(dynakd_cfg(lanes=LANES, **CASES[case]))
    train(together, bilevel(together))
    for name, overrides in LANES.items():
        solo = built(dynakd_cfg(lanes={name: overrides}, **CASES[case]))
        start = snapshot(solo.lanes[name])
        train(solo, bilevel(solo))
        end = snapshot(solo.lanes[name])
        assert differing(end, snapshot(together.lanes[name])) == []
        assert {key.split('.')[0] for key in differing(start, end)} == {
            key.split('.')[0] for key in start if key != 'selection'
        }
    states = [snapshot(lane.student) for lane in together.lanes.values()]
    assert all(
        differing(a, b) for i, a in enumerate(states) for b in states[:i]
    )  # lanes differ from each other


def test_lanes_start_from_one_student():
    for weights in (lambda m: None, lambda m: m.init_weights()):
        model = built(dynakd_cfg(lanes=LANES, distiller=features(6), teachers=SIX))
        weights(model)
        students = [snapshot(lane.student) for lane in model.lanes.values()]
        assert all(differing(students[0], other) == [] for other in students[1:])
        distillers = [
            snapshot(lane.distiller) for lane in model.lanes.values() if lane.selection.teachers
        ]
        assert all(differing(distillers[0], other) == [] for other in distillers[1:])


# --- equality with MMRazor's single teacher and MMPretrain's own training -------------------------


def single_teacher(model, teacher, student_loss):
    """MMRazor's algorithm with the same weights, preprocessor and distiller."""
    own = MODELS.build(
        dict(
            type='mmrazor.SingleTeacherDistill',
            architecture=built(SHARED_STUDENT, seed=99),
            teacher=copy.deepcopy(model.ensemble.networks[teacher]),
            distiller=kd_distiller_cfg(),
            data_preprocessor=built(PREPROCESSOR),
            student_trainable=True,
            calculate_student_loss=student_loss,
        )
    )
    own.architecture.load_state_dict(model.architecture.state_dict())
    own.train()
    return own


SHARED_STUDENT = student_cfg(backbone='resnet')


def plain_training(model, trained, steps=6):
    optim = OptimWrapper(torch.optim.SGD(trained.parameters(), lr=LR, momentum=0.9))
    return [model.train_step(made_batch(seed=step), optim)['loss'].item() for step in range(steps)]


@pytest.mark.parametrize('student_loss', [True, False])
@pytest.mark.parametrize(
    ('teachers', 'selection', 'teacher'),
    [
        (1, {}, 't0'),
        (1, dict(weight_by_probability='none'), 't0'),
        (3, dict(probs='t1'), 't1'),
        (3, dict(probs=[0, 0, 1], weight_by_probability='normalized'), 't2'),
    ],
)
def test_one_teacher_is_mmrazors_single_teacher_distillation(
    teachers, selection, teacher, student_loss
):
    model = built(
        dynakd_cfg(
            teachers,
            SHARED_STUDENT,
            selection=selection,
            student_loss_weight=float(student_loss),
        )
    )
    other = single_teacher(model, teacher, student_loss)
    expected = plain_training(other, other.architecture)
    optim, losses = bilevel(model, LR), []
    for step in range(6):
        if model.searched:
            model.upper_step(made_batch(seed=100 + step), optim)
        log = model.train_step(made_batch(seed=step), optim)
        losses.append(log['search/loss'].item())
    assert losses == expected
    assert len(set(expected)) == 6
    assert differing(snapshot(model.architecture), snapshot(other.architecture)) == []
    if model.searched:
        assert model.lanes['search'].selection.probs() == [1.0]


def test_a_lane_of_labels_alone_is_mmpretrains_training():
    model = built(
        dynakd_cfg(
            2,
            SHARED_STUDENT,
            lanes=dict(uniform=dict(selection=dict(probs='uniform')), ce=dict(selection=None)),
        )
    )
    plain = built(dict(SHARED_STUDENT, data_preprocessor=PREPROCESSOR))
    plain.load_state_dict(model.lanes['ce'].student.state_dict())
    plain_training(plain, plain)
    train(model, bilevel(model, LR))
    assert differing(snapshot(plain), snapshot(model.lanes['ce'].student)) == []
    assert len(differing(snapshot(plain), snapshot(model.lanes['uniform'].student))) > 10


# --- state ----------------------------------------------------------------------------------------


def test_the_step_counter_survives_a_state_dict():
    """So that a resumed run draws what it would have drawn."""
    cfg = dynakd_cfg(3, selection=dict(probs=THETA))
    straight, first, second = built(cfg), built(cfg), built(cfg, seed=0)
    train(straight, bilevel(straight, LR), 5)
    train(first, bilevel(first, LR), 5)
    second.load_state_dict(first.state_dict())
    assert second.step == 5
    for model in (straight, second):
        optim = bilevel(model, LR)
        for step in range(5, 9):
            model.train_step(made_batch(seed=step), optim)
    assert differing(snapshot(straight), snapshot(second)) == []
    assert second.step == 9


def test_lane_names_and_overrides():
    for name in ('', 'a.b', 'a/b', 'my_loss', 'train', 'keys'):
        with pytest.raises(ValueError, match='lane name'):
            built(dynakd_cfg(1, lanes={name: {}}))
    with pytest.raises(ValueError, match=r"lanes.a may override .*unknown: 'lr'"):
        built(dynakd_cfg(1, lanes=dict(a=dict(lr=1))))
