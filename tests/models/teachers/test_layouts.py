"""Which weights of a file are taken, under which names: parts, averages, every public naming."""

import argparse
import copy
import re

import pytest
import torch
import torchvision
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import DefaultScope
from mmpretrain.models import TimmClassifier
from runs import network, network_config
from toys import built, dynakd_cfg, kd_distiller_cfg, student_cfg

import mmdynakd
from mmdynakd.models.teachers.checkpoints.layouts import LayoutError, match, recognise
from mmdynakd.models.teachers.checkpoints.loading import CheckpointError, load_checkpoint_into
from mmdynakd.registry import MODELS
from mmdynakd.safe_load import read_checkpoint

TORCH = tuple(map(int, torch.__version__.split('.')[:2]))


def same(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[key], second[key]) for key in first
    )


def plain(state):
    return {key.split('.', 1)[1]: value for key, value in state.items()}


def prefixed(prefix, state):
    return {f'{prefix}{key}': value for key, value in state.items()}


def found(payload, model, part=None):
    """The layout, and whether the weights are those of ``model``."""
    layout, weights = recognise(payload, model.state_dict(), part)
    return layout, same(match(weights, model.state_dict()), model.state_dict())


@pytest.fixture
def pair():
    student, teacher = network(seed=1), network(seed=2)
    assert not same(student.state_dict(), teacher.state_dict())
    return student, teacher


# --- several networks in a file -------------------------------------------------------------------


@pytest.fixture(scope='module')
def single_teacher_distill():
    """A real MMRazor algorithm, with its distiller's connector."""
    torch.manual_seed(0)
    distiller = kd_distiller_cfg()
    distiller.update(
        connectors=dict(wider=dict(type='ConvModuleConnector', in_channel=4, out_channel=4))
    )
    student, teacher = MODELS.build(student_cfg()), MODELS.build(student_cfg(channels=6))
    with DefaultScope.overwrite_default_scope('mmrazor'):
        return MODELS.build(
            dict(
                type='mmrazor.SingleTeacherDistill',
                architecture=student,
                teacher=teacher,
                distiller=distiller,
            )
        )


def test_mmrazor_distillation_checkpoint(single_teacher_distill):
    algorithm = single_teacher_distill
    payload = dict(meta={}, state_dict=algorithm.state_dict())
    assert any(key.startswith('distiller.') for key in payload['state_dict'])
    assert found(payload, algorithm.architecture, 'student') == (
        'state_dict/student/mmpretrain',
        True,
    )
    assert found(payload, algorithm.teacher, 'teacher') == ('state_dict/teacher/mmpretrain', True)
    with pytest.raises(
        LayoutError,
        match=r'several networks: say which with checkpoint=dict\(path=…, part=…\), '
        'one of student, teacher',
    ):
        recognise(payload, algorithm.teacher.state_dict())
    with pytest.raises(LayoutError, match=r"no part 'search': .* one of student, teacher"):
        recognise(payload, algorithm.teacher.state_dict(), 'search')


def test_dynakd_checkpoint():
    model = built(dynakd_cfg(teachers=2, lanes=dict(one={}, two=dict(selection=None))))
    with torch.no_grad():
        for parameter in model.lanes['two'].student.parameters():
            parameter += 1
    payload = dict(state_dict=model.state_dict())
    for name, lane in model.lanes.items():
        assert found(payload, lane.student, name) == (f'state_dict/{name}/mmpretrain', True)
    for part in (None, 'student', 'three'):
        with pytest.raises(LayoutError, match='one of one, two'):
            recognise(payload, model.lanes['one'].student.state_dict(), part)


def test_the_only_lane_needs_no_name():
    model = built(dynakd_cfg(teachers=2))
    student = model.lanes['search'].student
    for part in (None, 'student', 'search'):
        assert found(dict(state_dict=model.state_dict()), student, part) == (
            'state_dict/search/mmpretrain',
            True,
        )
    with pytest.raises(LayoutError, match="no part 'teacher'"):
        recognise(dict(state_dict=model.state_dict()), student.state_dict(), 'teacher')


def test_mdistiller_checkpoints(pair):
    """Its ``best`` holds the DataParallel distiller, its ``student_best`` the student."""
    student, teacher = pair
    both = {
        **prefixed('module.student.', plain(student.state_dict())),
        **prefixed('module.teacher.', plain(teacher.state_dict())),
        'module.conv_reg.weight': torch.zeros(2),
    }
    best = dict(epoch=240, model=both, optimizer={}, best_acc=torch.tensor(70.0))
    assert found(best, student, 'student') == ('model/student/plain', True)
    assert found(best, teacher, 'teacher') == ('model/teacher/plain', True)
    assert found(dict(model=plain(student.state_dict())), student) == ('model/plain', True)
    vanilla = dict(model=prefixed('module.student.', plain(student.state_dict())))
    assert found(vanilla, student) == ('model/student/plain', True)


def test_a_part_of_a_file_with_one_network(pair):
    with pytest.raises(LayoutError, match="holds one network, no part 'teacher': give no part"):
        recognise(dict(model=plain(pair[0].state_dict())), pair[0].state_dict(), 'teacher')


def test_wrappers_within_a_part(pair):
    payload = prefixed('architecture.module.', pair[0].state_dict())
    assert found(payload, pair[0]) == ('bare/student/mmpretrain', True)
    compiled = prefixed('module._orig_mod.', plain(pair[0].state_dict()))
    assert found(compiled, pair[0]) == ('bare/plain', True)


# --- averages -------------------------------------------------------------------------------------


def test_mmengine_average_and_what_it_was_swapped_with(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        'mmdynakd.models.teachers.checkpoints.loading.print_log',
        lambda text, *_, **__: said.append(text),
    )
    model, hook = network(seed=1), EMAHook()
    hook.src_model, hook.ema_model = model, ExponentialMovingAverage(network(seed=2))
    last, average = (
        copy.deepcopy(model.state_dict()),
        copy.deepcopy(hook.ema_model.module.state_dict()),
    )
    checkpoint = dict(state_dict=model.state_dict())
    hook.before_save_checkpoint(None, checkpoint)
    torch.save(checkpoint, tmp_path / 'ema.pth')
    for part, expected in ((None, average), ('ema_state_dict', last)):
        target = network(seed=3)
        given = (
            str(tmp_path / 'ema.pth')
            if part is None
            else dict(path=tmp_path / 'ema.pth', part=part)
        )
        layout = load_checkpoint_into(target, given, name='t')
        assert layout == f'{part or "state_dict"}/mmpretrain'
        assert same(target.state_dict(), expected)
        assert repr(part or 'state_dict') in said[-1]
        assert 'holds the average' in said[-1]


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize('head', ['fc', 'linear', 'classifier', 'classifier.0', 'classifier.1'])
def test_every_name_of_a_classifier(head):
    model = network(seed=1)
    state = {
        re.sub(r'^backbone\.|^head\.', '', key.replace('head.fc', head)): value
        for key, value in model.state_dict().items()
    }
    assert f'{head}.weight' in state
    assert found(state, model) == ('bare/plain', True)


def test_torchvision_resnet_gives_its_logits():
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=10).eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
    ours = mmdynakd.load_teacher(
        dict(
            type='ImageClassifier',
            backbone=dict(type='ResNet', depth=18),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=10, in_channels=512),
        )
    )
    layout, weights = recognise(theirs.state_dict(), ours.state_dict())
    ours.load_state_dict(match(weights, ours.state_dict()))
    images = torch.randn(2, 3, 64, 64)
    assert layout == 'bare/plain'
    torch.testing.assert_close(ours(images), theirs(images))


def test_shortcut_is_downsample_only_where_the_model_says_so():
    r50 = built(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='mmpretrain.ResNet_CIFAR', depth=50, num_stages=4, out_indices=(3,)),
            head=dict(type='mmpretrain.LinearClsHead', num_classes=10, in_channels=2048),
        )
    )
    raw = built(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='mmdynakd.CifarWideResNetRaw', depth=10, widen_factor=2),
            head=dict(type='mmpretrain.LinearClsHead', num_classes=10, in_channels=128),
        )
    )
    for model in (r50, raw):
        own = model.state_dict()
        public = {
            re.sub(r'^backbone\.|^head\.', '', key).replace('.downsample.', '.shortcut.'): value
            for key, value in own.items()
        }
        assert any('.shortcut.0.' in key for key in public)
        _, weights = recognise(dict(model=public), own)
        assert list(match(weights, own)) == list(own)
        assert set(weights) == set(own)


def test_two_tensors_that_come_to_one_name():
    state = plain(network().state_dict())
    with pytest.raises(LayoutError, match=r"two tensors for 'head\.fc\.bias'"):
        recognise({**state, 'linear.bias': torch.zeros(10)}, network().state_dict())


class VisionTransformerLike(torch.nn.Module):
    """Names as timm's ViT has them, ``head.`` among them."""

    def __init__(self, **_):
        super().__init__()
        self.patch_embed, self.blocks = (
            torch.nn.Linear(4, 4),
            torch.nn.Sequential(torch.nn.Linear(4, 4)),
        )
        self.head = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.blocks(self.patch_embed(x)))


@pytest.fixture
def timm_classifier():
    """MMPretrain's ``TimmClassifier`` around a stand-in for a timm network, without timm.

    Its ``__init__`` asks for timm; the rest is the true one, with the hooks that hide ``model.`` in
    its state dict.
    """
    model = TimmClassifier.__new__(TimmClassifier)
    super(TimmClassifier, model).__init__(
        data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor')
    )
    model.model = VisionTransformerLike()
    model._register_state_dict_hook(model._remove_state_dict_prefix)
    model._register_load_state_dict_pre_hook(model._add_state_dict_prefix)
    return model


@pytest.mark.parametrize(
    'wrap',
    [
        lambda s: s,
        lambda s: dict(state_dict=s),
        lambda s: dict(model=s),
        lambda s: prefixed('model.', s),
        lambda s: dict(state_dict=prefixed('module.', s)),
    ],
)
def test_timm_names_are_the_models_own(tmp_path, timm_classifier, wrap):
    torch.manual_seed(3)
    theirs = VisionTransformerLike()
    assert list(timm_classifier.state_dict()) == list(theirs.state_dict())
    torch.save(wrap(theirs.state_dict()), tmp_path / 'timm.pth')
    assert load_checkpoint_into(timm_classifier, tmp_path / 'timm.pth', name='vit').endswith(
        '/same'
    )
    assert same(timm_classifier.model.state_dict(), theirs.state_dict())


# --- messages -------------------------------------------------------------------------------------


def test_another_number_of_classes_is_said(tmp_path):
    torch.save(network(classes=7).state_dict(), tmp_path / 'seven.pth')
    with pytest.raises(
        CheckpointError,
        match=r"has 7 classes, the model has 10 \(set its head's num_classes, or "
        r'take another checkpoint\): 2 of another shape \(head.fc.weight',
    ):
        load_checkpoint_into(network(), tmp_path / 'seven.pth', name='t')


def test_another_width_is_no_matter_of_classes():
    own = network().state_dict()
    with pytest.raises(
        LayoutError, match='is of another architecture than the model: 1 of another shape'
    ):
        match({**own, 'backbone.conv1.weight': torch.zeros(32, 3, 3, 3)}, own)


@pytest.mark.parametrize('given', [dict(part='student'), dict(path='a.pth', which='student'), {}])
def test_checkpoint_of_another_form(given):
    with pytest.raises(
        CheckpointError, match=r"Teacher 't': checkpoint must be a path, a URL or dict\(path="
    ):
        load_checkpoint_into(network(), given, name='t')


def test_options_beside_the_weights_are_read_and_not_allowed_for_others(tmp_path):
    """RepDistiller's ``<model>_last.pth`` has its ``argparse.Namespace`` in it."""
    source = network(seed=1)
    options = argparse.Namespace(lr=0.05, milestones=[150, 180, 210], model='resnet8')
    torch.save(dict(opt=options, model=plain(source.state_dict())), tmp_path / 'resnet8_last.pth')
    target = network(seed=2)
    assert load_checkpoint_into(target, tmp_path / 'resnet8_last.pth', name='t') == 'model/plain'
    assert same(target.state_dict(), source.state_dict())
    if TORCH >= (2, 4):
        assert argparse.Namespace not in torch.serialization.get_safe_globals()
    assert read_checkpoint(tmp_path / 'resnet8_last.pth')['opt'] == options


# --- load_teacher ---------------------------------------------------------------------------------


def test_load_teacher_gives_a_frozen_classifier_that_can_be_thawed(tmp_path, pair):
    student, teacher = pair
    path = tmp_path / 'both.pth'
    torch.save(
        dict(
            model={
                **prefixed('student.', plain(student.state_dict())),
                **prefixed('teacher.', plain(teacher.state_dict())),
            }
        ),
        path,
    )
    entry = Config(
        dict(teacher=dict(model=network_config(), checkpoint=dict(path=str(path), part='student')))
    ).teacher
    for loaded, source in (
        (mmdynakd.load_teacher(network_config(), path, part='teacher'), teacher),
        (mmdynakd.load_teacher(network(), str(path), part='student'), student),
        (mmdynakd.load_teacher(entry), student),
        (mmdynakd.load_teacher(entry, part='teacher'), teacher),
    ):
        assert same(loaded.state_dict(), source.state_dict())
        assert not loaded.training
        assert not any(p.requires_grad for p in loaded.parameters())
        assert loaded.train().training
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(loaded.eval()(images), teacher.eval()(images))


def test_load_teacher_says_what_is_wrong(tmp_path):
    with pytest.raises(TypeError, match=r"model must be .* got 'resnet56'"):
        mmdynakd.load_teacher('resnet56')
    with pytest.raises(
        ValueError, match="part='student' chooses among the networks of a checkpoint"
    ):
        mmdynakd.load_teacher(network_config(), part='student')
    with pytest.raises(CheckpointError, match=r"Teacher 'big': .* is missing"):
        mmdynakd.load_teacher(network_config(), tmp_path / 'no.pth', name='big')
    with pytest.raises(AttributeError, match="no attribute 'load_teachers'"):
        mmdynakd.load_teachers  # noqa: B018
