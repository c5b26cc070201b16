"""The teachers: who runs, in which mode, on which pixels, and that they are nobody's parameters."""

import copy

import pytest
import torch
from torch import nn
from toys import (
    PREPROCESSOR,
    bilevel,
    built,
    dynakd_cfg,
    made_batch,
    snapshot,
    student_cfg,
    teacher_cfg,
)

from mmdynakd.functional import invert_cdf, uniform
from mmdynakd.models.teachers import OUTPUTS, TeacherEnsemble

NAMES = ['t0', 't1', 't2']
OTHER = dict(
    type='mmpretrain.ClsDataPreprocessor', mean=[10.0, 20.0, 30.0], std=[1.0, 2.0, 3.0], to_rgb=True
)


def counted(model):
    """Names of the teachers in the order in which they run."""
    ran = []
    for name, network in model.ensemble.networks.items():
        network.backbone.register_forward_hook(lambda *_, name=name: ran.append(name))
    return ran


def fixed(**lanes):
    return {name: dict(selection=dict(probs=probs)) for name, probs in lanes.items()}


def test_only_the_teacher_drawn_runs_in_a_lower_step_and_all_in_an_upper_one():
    model = built(dynakd_cfg(3, draw_seed=5))
    optim, ran = bilevel(model), counted(model)
    theta = model.lanes['search'].selection.probs()
    for step in range(12):
        model.train_step(made_batch(seed=step), optim)
    assert ran == [NAMES[invert_cdf(theta, uniform(5, step))] for step in range(12)]
    assert set(ran) == set(NAMES)
    ran.clear()
    model.upper_step(made_batch(), optim)
    assert ran == NAMES


@pytest.mark.parametrize(
    ('lanes', 'expected'),
    [
        (fixed(a='t0', b='t1', c='t0', d='t1'), {'t0', 't1'}),
        (fixed(a='t2', b='t2'), {'t2'}),
        (dict(fixed(a='t1'), ce=dict(selection=None)), {'t1'}),
        (dict(ce=dict(selection=None)), set()),
    ],
)
def test_each_distinct_teacher_runs_once_for_all_lanes(lanes, expected):
    model = built(dynakd_cfg(3, lanes=lanes))
    ran = counted(model)
    model.train_step(made_batch(), bilevel(model))
    assert len(ran) == len(set(ran))
    assert set(ran) == expected


def test_two_searches_share_one_pass_of_the_teachers():
    model = built(dynakd_cfg(3, lanes=dict(a={}, b=dict(mix='losses'))))
    ran = counted(model)
    model.upper_step(made_batch(), bilevel(model))
    assert ran == NAMES


def all_modes(model):
    return {
        module.training
        for network in model.ensemble.networks.values()
        for module in network.modules()
    }


def test_teachers_stay_in_eval_mode():
    teachers = dict(t0=teacher_cfg(dropout=0.9), t1=teacher_cfg(backbone='resnet'))
    model = built(dynakd_cfg(teachers))
    optim = bilevel(model)
    assert model.training
    assert all_modes(model) == {False}
    inputs = model.data_preprocessor(made_batch())['inputs']

    def logits():
        records = model.ensemble.run(['t0', 't1'], inputs)
        return [next(iter(own.values()))[0] for own in records.values()]

    before = logits()
    for step in range(3):
        model.train()
        for network in model.ensemble.networks.values():
            network.train()
        model.upper_step(made_batch(seed=step), optim)
        model.train_step(made_batch(seed=step), optim)
    assert all_modes(model) == {False}
    assert all(
        torch.equal(a, b) for a, b in zip(before, logits())
    )  # no Dropout, no moved BatchNorm statistics


def test_teachers_are_no_part_of_the_module():
    model = built(dynakd_cfg(3))
    own = {id(p) for network in model.ensemble.networks.values() for p in network.parameters()}
    assert own
    assert not own & {id(p) for p in model.parameters()}
    networks = {id(network) for network in model.ensemble.networks.values()}
    assert not networks & {id(m) for m in model.modules()}
    trained = sum(p.numel() for p in built(dict(student_cfg())).parameters())
    assert (
        sum(v.numel() for k, v in model.state_dict().items() if k.endswith(('weight', 'bias')))
        == trained
    )
    assert {key.split('.')[0] for key in model.state_dict()} == {'lanes', '_extra_state'}
    optim = bilevel(model)
    held = {
        id(p) for _, entry in optim.items() for group in entry.param_groups for p in group['params']
    }
    assert held == {id(p) for p in model.parameters()}


def test_training_leaves_the_teachers_bit_for_bit():
    model = built(dynakd_cfg(dict(t0=teacher_cfg(backbone='resnet'), t1=teacher_cfg())))
    optim = bilevel(model)
    before = {name: snapshot(network) for name, network in model.ensemble.networks.items()}
    for step in range(3):
        model.upper_step(made_batch(seed=step), optim)
        model.train_step(made_batch(seed=step), optim)
    for name, network in model.ensemble.networks.items():
        after = snapshot(network)
        assert [key for key in after if not torch.equal(after[key], before[name][key])] == []
        assert [p for p in network.parameters() if p.requires_grad or p.grad is not None] == []


def test_each_network_gets_raw_pixels_under_its_own_normalisation():
    teachers = dict(
        t0=teacher_cfg(), t1=teacher_cfg(data_preprocessor=OTHER), t2=teacher_cfg(backbone='resnet')
    )
    model = built(dynakd_cfg(teachers, lanes=fixed(a='t0', b='t1', c='t2')))
    reached = {}
    networks = {**model.ensemble.networks, 'student': model.architecture}
    for name, network in networks.items():
        network.backbone.conv1.register_forward_pre_hook(
            lambda _, args, name=name: reached.update({name: args[0]})
        )
    batch = made_batch(n=4, seed=7)
    pixels = torch.stack(batch['inputs']).double()
    model.train_step(copy.deepcopy(batch), bilevel(model))

    def normalised(images, cfg):
        return torch.stack([(images[:, c] - cfg['mean'][c]) / cfg['std'][c] for c in range(3)], 1)

    own = normalised(pixels, PREPROCESSOR)
    expected = dict(student=own, t0=own, t2=own, t1=normalised(pixels[:, [2, 1, 0]], OTHER))
    assert reached.keys() == expected.keys()
    for name, value in reached.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-6, atol=1e-6)


def test_a_teacher_of_another_normalisation_answers_as_it_does_alone():
    model = built(dynakd_cfg(dict(t0=teacher_cfg(data_preprocessor=OTHER))))
    batch, alone = made_batch(seed=4), model.ensemble.networks['t0']
    expected = alone(alone.data_preprocessor(copy.deepcopy(batch))['inputs'])
    records = model.ensemble.run(['t0'], model.data_preprocessor(copy.deepcopy(batch))['inputs'])
    assert torch.equal(next(iter(records['t0'].values()))[0], expected)


@pytest.mark.parametrize(
    'cast', [lambda m: m.to(torch.float64), lambda m: m.double()], ids=['to', 'double']
)
def test_the_ensemble_follows_the_dtype(cast):
    model = built(
        dynakd_cfg(dict(t0=teacher_cfg(backbone='resnet'), t1=teacher_cfg(data_preprocessor=OTHER)))
    )
    assert cast(model) is model
    kinds = {
        t.dtype
        for n in model.ensemble.networks.values()
        for t in (*n.parameters(), *n.buffers())
        if t.is_floating_point()
    }
    assert kinds == {torch.float64}
    records = model.ensemble.run(['t0', 't1'], model.data_preprocessor(made_batch())['inputs'])
    assert [next(iter(own.values()))[0].dtype for own in records.values()] == [torch.float64] * 2
    assert (
        model.upper_losses(model.data_preprocessor(made_batch()))['search'].dtype == torch.float64
    )


def test_the_ensemble_follows_the_device():
    """The ``meta`` device stands for any other than the CPU."""
    model = built(dynakd_cfg(2)).to('meta')
    kinds = {p.device.type for n in model.ensemble.networks.values() for p in n.parameters()}
    assert kinds == {'meta'}
    assert {n.data_preprocessor.device.type for n in model.ensemble.networks.values()} == {'meta'}


def test_equal_recorders_are_one():
    """Many lanes over one distiller config keep one record a teacher."""
    model = built(dynakd_cfg(2, lanes=dict(a={}, b={}, c=dict(selection=dict(probs='t0')))))
    records = model.ensemble.run(['t0', 't1'], model.data_preprocessor(made_batch())['inputs'])
    assert {name: [len(r) for r in own.values()] for name, own in records.items()} == dict(
        t0=[1, 1], t1=[1, 1]
    )
    assert all(
        len(own) == 2 and OUTPUTS in own for own in records.values()
    )  # the logits, kept always, and the record


@pytest.mark.parametrize(
    ('teachers', 'message'),
    [
        ({}, 'at least one teacher'),
        (
            dict(t0=teacher_cfg(), t1=teacher_cfg(classes=7)),
            "teacher 't1' has 7 classes, the student has 5",
        ),
        (dict(t0=student_cfg()), r'teachers.t0 must be dict\(model=…, checkpoint=…, config=…\)'),
        (dict(t0=dict(checkpoint='x.pth')), 'teachers.t0 must be dict'),
        (dict(t0=dict(teacher_cfg(), ckpt='x.pth')), 'teachers.t0 must be dict'),
        (dict(t0='resnet20'), 'teachers.t0 must be dict'),
        (dict(keys=teacher_cfg()), "teacher name 'keys' must be"),
        (
            dict(t0=dict(teacher_cfg(), checkpoint='nowhere/x.pth', config='configs/c.py')),
            "(?s)'t0'.*nowhere/x.pth is missing.*mmdynakd train configs/c.py",
        ),
    ],
)
def test_errors(teachers, message):
    with pytest.raises(ValueError, match=message):
        built(dynakd_cfg(teachers))


def test_a_built_teacher_is_taken_as_it_is():
    network = built(dict(student_cfg(), data_preprocessor=PREPROCESSOR))
    ensemble = TeacherEnsemble(dict(mine=dict(model=network)))
    assert ensemble.names == ['mine']
    assert ensemble.networks['mine'] is network
    assert isinstance(network, nn.Module)
    assert not network.training
