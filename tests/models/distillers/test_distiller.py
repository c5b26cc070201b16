"""CategoricalDistiller: MMRazor's own losses, of the drawn teacher or the relaxed one; errors."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
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

from mmdynakd.functional import NoHypergradientError
from mmdynakd.models.distillers import CategoricalDistiller
from mmdynakd.models.selections import Choice
from mmdynakd.registry import MODELS

NAMES = ['t0', 't1', 't2']


@MODELS.register_module(force=True)
class HiddenDetach(nn.Module):
    """A loss that detaches the teacher with no option that says so."""

    def forward(self, preds_S, preds_T):
        return ((preds_S - preds_T.detach()) ** 2).mean()


@MODELS.register_module(force=True)
class PlainL2(nn.Module):
    """A loss without a teacher_detach option that detaches nothing."""

    def forward(self, preds_S, preds_T):
        return ((preds_S - preds_T) ** 2).mean()


def custom(kind):
    cfg = kd_distiller_cfg()
    cfg['distill_losses'] = dict(loss_kl=dict(type=f'mmdynakd.{kind}'))
    return cfg


def stacked(**options):
    """A lane's distiller with the student and all teachers recorded, and what went in."""
    model = built(dynakd_cfg(3, **options))
    lane = model.lanes['search']
    inputs, samples = prepared(model, made_batch(seed=2))
    records = model.ensemble.run(NAMES, inputs)
    inputs = model._student_inputs(inputs)
    student = copy.deepcopy(lane.student)
    with lane.distiller.recording():
        lane.student(inputs, samples, mode='loss')
    return SimpleNamespace(
        lane=lane,
        distiller=lane.distiller,
        records=records,
        student=student,
        inputs=inputs,
        samples=samples,
        networks=model.ensemble.networks,
    )


def drawn(seen, teacher, scale=1.0):
    return seen.distiller.compute_distill_losses(seen.records, Choice({teacher: 1.0}, scale))


def reference(seen, teacher, cfg):
    """MMRazor's distiller on the student and one teacher, recorded and compared by its own code."""
    own = MODELS.build(dict(copy.deepcopy(cfg), type='mmrazor.ConfigurableDistiller'))
    student, network = copy.deepcopy(seen.student), copy.deepcopy(seen.networks[teacher])
    own.prepare_from_student(student)
    own.prepare_from_teacher(network)
    with torch.no_grad(), own.teacher_recorders:
        network(seen.inputs, seen.samples, mode='loss')
    with own.student_recorders:
        student(seen.inputs, seen.samples, mode='loss')
    return own.compute_distill_losses()['loss_kl']


@pytest.mark.parametrize(
    'loss', [{}, dict(tau=2.0, loss_weight=1.3), dict(teacher_detach=True), dict(reduction='sum')]
)
@pytest.mark.parametrize('teacher', NAMES)
def test_a_draw_gives_mmrazors_own_loss(teacher, loss):
    cfg = kd_distiller_cfg(**loss)
    seen = stacked(distiller=cfg, selection=dict(probs='uniform'))
    got = drawn(seen, teacher)
    assert list(got) == ['loss_kl']
    assert torch.equal(got['loss_kl'], reference(seen, teacher, cfg))
    assert all(
        not torch.equal(got['loss_kl'], reference(seen, other, cfg))
        for other in NAMES
        if other != teacher
    )


def test_the_scale_multiplies_losses_and_not_statistics():
    cfg = kd_distiller_cfg()
    cfg['distill_losses']['gap'] = cfg['distill_losses']['loss_kl']
    cfg['loss_forward_mappings']['gap'] = cfg['loss_forward_mappings']['loss_kl']
    with pytest.warns(UserWarning, match='If gap is a loss'):
        seen = stacked(distiller=cfg)
    one, quarter = drawn(seen, 't1'), drawn(seen, 't1', 0.25)
    assert torch.equal(quarter['loss_kl'], 0.25 * one['loss_kl'])
    assert torch.equal(quarter['gap'], one['gap'])


def test_the_type_may_be_left_out():
    cfg = kd_distiller_cfg()
    del cfg['type']
    seen = stacked(distiller=cfg)
    assert torch.equal(drawn(seen, 't0')['loss_kl'], reference(seen, 't0', kd_distiller_cfg()))


def per_teacher(names=NAMES):
    return {name: kd_distiller_cfg(tau=1.0 + i) for i, name in enumerate(names)}


@pytest.mark.parametrize('index', range(3))
def test_a_distiller_per_teacher_is_that_of_the_teacher_drawn(index):
    seen = stacked(distiller=per_teacher(), mix='losses')
    ran = []
    for name, distiller in seen.distiller.distillers.items():
        distiller.distill_losses['loss_kl'].register_forward_hook(
            lambda *_, name=name: ran.append(name)
        )
    got = drawn(seen, NAMES[index])
    assert ran == [NAMES[index]]
    assert torch.equal(
        got['loss_kl'], reference(seen, NAMES[index], kd_distiller_cfg(tau=1.0 + index))
    )


def test_a_teacher_may_be_called_shared():
    names = ['other', 'shared']
    teachers = {name: teacher_cfg() for name in names}
    model = built(dynakd_cfg(teachers, distiller=per_teacher(names), mix='losses'))
    distiller = model.lanes['search'].distiller
    assert [distiller.of(name).distill_losses['loss_kl'].tau for name in names] == [1.0, 2.0]
    assert model.train_step(made_batch(), bilevel(model))['search/loss_kl'] > 0


@pytest.mark.parametrize(
    'distiller', [kd_distiller_cfg(), per_teacher()], ids=['shared', 'per teacher']
)
def test_losses_mixed_are_a_plain_sum(distiller):
    seen = stacked(distiller=distiller, mix='losses')
    theta = torch.tensor([0.2, 0.5, 0.3])
    got = seen.distiller.compute_distill_losses(seen.records, seen.lane.selection.relax(theta))[
        'loss_kl'
    ]
    expected = sum(
        weight * drawn(seen, name)['loss_kl'].item() for name, weight in zip(NAMES, theta.tolist())
    )
    assert got.item() == pytest.approx(expected, rel=1e-6)


def test_per_teacher_distillers_train_their_own_connectors():
    """The connector of a teacher that was not drawn stays where it is."""
    model = built(
        dynakd_cfg(
            3,
            distiller={n: with_connector(6 + i) for i, n in enumerate(NAMES)},
            mix='losses',
            selection=dict(probs='t1'),
        )
    )
    before = snapshot(model.lanes['search'].distiller)
    model.train_step(made_batch(), bilevel(model))
    changed = differing(before, snapshot(model.lanes['search'].distiller))
    assert changed
    assert all(key.startswith('distillers.t1.') for key in changed)


def with_connector(channels):
    """L2 between feature maps, the student's through a connector to the teacher's ``channels``."""
    recorders = dict(feat=dict(type='ModuleOutputs', source='backbone.conv2'))
    return dict(
        type='ConfigurableDistiller',
        student_recorders=recorders,
        teacher_recorders=copy.deepcopy(recorders),
        connectors=dict(
            up=dict(
                type='mmrazor.ConvModuleConnector',
                in_channel=4,
                out_channel=channels,
                norm_cfg=None,
            )
        ),
        distill_losses=dict(loss_feat=dict(type='mmrazor.L2Loss', normalize=False)),
        loss_forward_mappings=dict(
            loss_feat=dict(
                s_feature=dict(from_student=True, recorder='feat', connector='up'),
                t_feature=dict(from_student=False, recorder='feat'),
            )
        ),
    )


def test_features_of_different_shapes_cannot_mix_as_outputs():
    model = built(dynakd_cfg(3, distiller=with_connector(6)))
    with pytest.raises(
        ValueError, match="cannot be averaged; mix the losses instead: mix='losses'"
    ):
        model.upper_step(made_batch(), bilevel(model))


# --- traps and errors -----------------------------------------------------------------------------


@pytest.mark.parametrize('loss', [dict(teacher_detach=True), None])
def test_a_detached_teacher_is_an_error_where_theta_is_searched(loss):
    cfg = kd_distiller_cfg(**(loss or {}))
    if loss is None:
        del cfg['distill_losses']['loss_kl']['teacher_detach']  # MMRazor's default is True
    with pytest.raises(
        ValueError, match=r'distill_losses\.loss_kl .*teacher_detach=True.*set teacher_detach=False'
    ):
        built(dynakd_cfg(3, distiller=cfg))
    for fine in (dict(selection=dict(probs='uniform')), dict(mix='losses')):
        model = built(dynakd_cfg(3, distiller=cfg, **fine))
        assert model.train_step(made_batch(), bilevel(model))['search/loss_kl'] > 0
    model = built(dynakd_cfg(3, distiller=cfg, mix='losses'))
    model.upper_step(made_batch(), bilevel(model))
    assert model.lanes['search'].selection.alpha.abs().max() > 0


def test_a_loss_that_detaches_in_secret_is_caught_at_the_first_upper_step():
    model = built(dynakd_cfg(3, distiller=custom('HiddenDetach')))
    with pytest.raises(
        NoHypergradientError,
        match=r"\['loss_kl'\] detaches the teacher; set its teacher_detach=False",
    ):
        model.upper_step(made_batch(), bilevel(model))


def test_a_custom_loss_that_detaches_nothing_is_fine():
    model = built(dynakd_cfg(3, distiller=custom('PlainL2')))
    model.upper_step(made_batch(), bilevel(model))
    assert model.lanes['search'].selection.alpha.abs().max() > 0


def wrong_source(side):
    cfg = kd_distiller_cfg()
    cfg[f'{side}_recorders']['logits']['source'] = 'head.nowhere'
    return cfg


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(
                distiller=dict(
                    kd_distiller_cfg(), distill_deliveries=dict(a=dict(type='FunctionOutputs'))
                )
            ),
            'remove distill_deliveries',
        ),
        (
            dict(distiller={**per_teacher(), 'huge': kd_distiller_cfg()}, mix='losses'),
            r"unknown: \['huge'\]",
        ),
        (dict(distiller=per_teacher(NAMES[:2]), mix='losses'), r"missing: \['t2'\]"),
        (dict(distiller=per_teacher()), "one mixed output: set mix='losses'"),
        (
            dict(distiller=wrong_source('student')),
            'student_recorders.*ImageClassifier.*head.nowhere',
        ),
        (dict(distiller=wrong_source('teacher')), "teacher 't0': recorder .*head.nowhere"),
        (dict(mix='both'), "mix must be one of .*'both'"),
        (dict(distiller={'t0': 3}, mix='losses'), 'missing'),
    ],
)
def test_errors_at_build(options, message):
    with pytest.raises(ValueError, match=message):
        built(dynakd_cfg(3, **options))


@pytest.mark.parametrize('distiller', [{}, None, 'KLDivergence'])
def test_no_distiller_config(distiller):
    with pytest.raises(ValueError, match='distiller must be the config of a MMRazor distiller'):
        CategoricalDistiller(distiller, NAMES)


def test_a_loss_named_like_the_total():
    cfg = kd_distiller_cfg()
    for key in ('distill_losses', 'loss_forward_mappings'):
        cfg[key] = dict(loss=cfg[key]['loss_kl'])
    model = built(dynakd_cfg(3, distiller=cfg))
    with pytest.raises(ValueError, match=r"distill_losses \['loss'\] has the name of the total"):
        model.train_step(made_batch(), bilevel(model))
