"""Each config of configs/compose: search and evaluation steps, MMRazor's loss, θ's gradient."""

import copy
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.structures import DataSample
from runs import CHECKOUT
from toys import bilevel, upper_batch

from mmdynakd.models.algorithms.randomness import seed_step
from mmdynakd.models.algorithms.upper import upper_loss
from mmdynakd.models.distillers import checks
from mmdynakd.models.selections import Choice
from mmdynakd.registry import MODELS

CONFIGS = sorted(path.stem for path in (CHECKOUT / 'configs' / 'compose').glob('*.py'))
SEARCHES = [name for name in CONFIGS if name != 'ft_paraphrasers_cifar100']
STEP = 1e-4
BATCH = 4
DEPTHS = dict(
    resnet56=20, resnet44=14, resnet32=8
)  # the logits' configs: smaller teachers of the same family


def model_config(name: str, folder: Path | None = None) -> dict:
    """The config's model; teachers without checkpoints, small where no block of theirs is read."""
    cfg = Config.fromfile(CHECKOUT / 'configs' / 'compose' / f'{name}.py')
    model = cfg.model.to_dict()
    for teacher, entry in model['teachers'].items():
        entry['checkpoint'] = None
        if teacher in DEPTHS and 'r56' in name:
            entry['model']['backbone']['depth'] = DEPTHS[teacher]
    if 'r56' in name:
        model['architecture']['backbone']['depth'] = 8
    model.update(
        data_preprocessor=dict(cfg.data_preprocessor, type='mmpretrain.ClsDataPreprocessor'),
        draw_seed=0,
    )
    for distiller in of_all(model['distiller']):
        for loss in distiller['distill_losses'].values():
            if loss['type'] == 'CRDLoss':
                loss.update(neg_num=6, sample_n=40)  # 50,000 rows a teacher take seconds to make
        for connector in (distiller.get('connectors') or {}).values():
            if isinstance(connector, dict) and connector.get('type') == 'Paraphraser':
                connector['init_cfg'] = None
    return model


def of_all(distiller: dict) -> list[dict]:
    return [distiller] if 'distill_losses' in distiller else list(distiller.values())


def built(cfg: dict, seed: int = 0):
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(copy.deepcopy(cfg)).train()
    for network in (model, *model.ensemble.networks.values()):
        network.init_weights()
    for student_or_teacher in (model.architecture, *model.ensemble.networks.values()):
        student_or_teacher.head.fc.weight.data *= (
            20  # MMPretrain starts heads near 0, where every gradient is tiny
        )
    return model


def images(seed: int, first_row: int = 0) -> dict:
    """A batch as the loader gives it, with what CRD asks for."""
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.randint(0, 256, (BATCH, 3, 32, 32), generator=generator, dtype=torch.uint8)
    samples = []
    for i in range(BATCH):
        rows = torch.tensor([i, *torch.randint(BATCH, 20, (6,), generator=generator)]) + first_row
        sample = DataSample().set_gt_label(int(torch.randint(0, 100, (1,), generator=generator)))
        sample.set_data(dict(sample_idx=rows[0], contrast_sample_idxs=rows))
        samples.append(sample)
    return dict(inputs=list(pictures), data_samples=samples)


def ready(name: str):
    """A float64 model after one lower step: memory banks and their constants are set."""
    model = built(model_config(name)).double()
    model.train_step(images(9), bilevel(model, lr=1e-3))
    model.train_step(images(8), bilevel(model, lr=1e-3))
    return model


@pytest.fixture(scope='module', params=SEARCHES)
def searched(request):
    return request.param, ready(request.param)


def banks(lane) -> dict:
    return {key: value.clone() for key, value in lane.distiller.state_dict().items()}


def test_the_configs_are_all_there():
    wanted = 'kd dkd dist kdsoftce wsld l1 l2 rkd at fitnet ab ft ofd crd cwd mgd pkd fbkd ce'
    assert {*wanted.split(), 'logitstd', 'mlkd'} == {name.split('_')[0] for name in CONFIGS}


def test_a_search_takes_both_steps(searched):
    _name, model = searched
    lane = model.lanes['search']
    optim = bilevel(model, lr=1e-3)
    weights = {key: p.detach().clone() for key, p in model.named_parameters()}
    loss = model.upper_step(images(1, first_row=20), optim)['search']
    assert torch.isfinite(loss)
    changed = [key for key, p in model.named_parameters() if not torch.equal(p, weights[key])]
    assert changed == ['lanes.search.selection.alpha']
    assert len({round(p, 9) for p in lane.selection.probs()}) > 1
    log = model.train_step(images(2), optim)
    assert all(torch.isfinite(value) for value in log.values())
    assert not torch.equal(
        lane.student.backbone.conv1.weight, weights['lanes.search.student.backbone.conv1.weight']
    )


def test_an_evaluation_takes_a_step_by_its_fixed_theta(searched):
    """Only the drawn teacher's distiller teaches: its connectors train, the others do not."""
    name, _ = searched
    cfg = model_config(name)
    teachers = list(cfg['teachers'])
    cfg['lanes'] = dict(candidate=dict(selection=dict(probs={teachers[1]: 1.0})))
    model = built(cfg)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    model.ensemble.run(
        teachers, torch.zeros(2, 3, 32, 32)
    )  # the first run folds them, which takes a look
    ran = []
    for teacher, network in model.ensemble.networks.items():
        network.register_forward_pre_hook(lambda *_, teacher=teacher: ran.append(teacher))
    log = model.train_step(images(2), bilevel(model, lr=1e-2))
    assert ran == [teachers[1]]
    assert all(torch.isfinite(value) for value in log.values())
    changed = {key for key, p in model.named_parameters() if not torch.equal(p, before[key])}
    assert 'lanes.candidate.student.backbone.conv1.weight' in changed
    others = [f'.distillers.{t}.' for t in teachers if t != teachers[1]]
    assert not [key for key in changed if any(other in key for other in others)]


def reference(model, name: str, teacher: str, batch) -> dict:
    """MMRazor's distiller by itself, of the same config, on copies of connectors and memory."""
    lane = model.lanes['search']
    cfg = model_config(name)['distiller']
    cfg = copy.deepcopy(cfg if 'distill_losses' in cfg else cfg[teacher])
    with DefaultScope.overwrite_default_scope('mmrazor'):
        own = MODELS.build(
            dict(cfg, type=f'mmrazor.{cfg.get("type", "ConfigurableDistiller")}')
        ).double()
    own.load_state_dict(lane.distiller.of(teacher).state_dict())
    own.train(lane.training)
    lane.forget()
    student, network = (
        copy.deepcopy(part).to(memory_format=torch.contiguous_format)  # MMRazor's losses use view
        for part in (lane.student, model.ensemble.networks[teacher])
    )
    own.prepare_from_student(student)
    own.prepare_from_teacher(network)
    if hasattr(own, 'init_ofd_connectors'):
        own.init_ofd_connectors(network)
    raw = network.data_preprocessor(dict(inputs=batch['inputs']))['inputs']
    with torch.no_grad(), own.teacher_recorders:
        network(raw, batch['data_samples'], mode='loss')
    seed_step(0, model.step)
    with own.student_recorders:
        student(
            model._student_inputs(batch['inputs']).contiguous(), batch['data_samples'], mode='loss'
        )
    return own.compute_distill_losses()


def test_the_loss_is_mmrazors_own_for_the_drawn_teacher(searched):
    name, model = searched
    lane = model.lanes['search']
    for teacher in model.ensemble.names:
        batch = model.data_preprocessor(copy.deepcopy(images(3)), training=True)
        kept, expected = banks(lane), reference(model, name, teacher, batch)
        records = model.ensemble.run([teacher], batch['inputs'])
        student, buffers = (
            lane.student,
            {key: value.clone() for key, value in lane.student.state_dict().items()},
        )
        seed_step(0, model.step)
        with lane.recording([teacher]):
            student(model._student_inputs(batch['inputs']), batch['data_samples'], mode='loss')
        got = lane.distiller.compute_distill_losses(records, Choice({teacher: 1.0}))
        assert got.keys() == expected.keys()
        assert got
        for key, value in got.items():
            torch.testing.assert_close(value, expected[key].mean(), rtol=1e-12, atol=0)
            assert value.requires_grad
            assert value != 0
        lane.distiller.load_state_dict(kept)
        student.load_state_dict(buffers)


def test_theta_gets_the_right_gradient(searched):
    """Against central differences; where losses are mixed also against θ ⊙ (L_i − Σ θ_j L_j)."""
    name, model = searched
    lane = model.lanes['search']
    lane.selection.alpha.data = torch.tensor([0.5, -0.3, 0.1], dtype=torch.float64)
    batch, kept = upper_batch(model, images(4, first_row=20)), banks(lane)

    def loss():
        lane.distiller.load_state_dict(kept)
        torch.manual_seed(0)
        return upper_loss(lane, batch)

    loss()  # a memory bank's constants for these rows
    (gradient,) = torch.autograd.grad(loss(), lane.selection.alpha)
    numeric, alpha = torch.zeros(3, dtype=torch.float64), lane.selection.alpha.data
    for i in range(3):
        values = []
        for sign in (1, -1):
            alpha[i] += sign * STEP
            values.append(loss().item())
            alpha[i] -= sign * STEP
        numeric[i] = (values[0] - values[1]) / (2 * STEP)
    assert numeric.abs().max() > 0
    torch.testing.assert_close(gradient, numeric, rtol=1e-5, atol=1e-6 * float(numeric.abs().max()))
    if (
        lane.distiller.mix == 'losses' and name != 'mgd_r20_cifar100'
    ):  # whose masks are drawn a teacher
        own = []
        for index in range(3):
            lane.selection.alpha.data = torch.full((3,), -1e3, dtype=torch.float64)
            lane.selection.alpha.data[index] = 0
            own.append(loss().item())
        lane.selection.alpha.data = alpha
        theta, own = alpha.softmax(0), torch.tensor(own, dtype=torch.float64)
        torch.testing.assert_close(
            gradient, theta * (own - (theta * own).sum()), rtol=1e-8, atol=1e-12
        )


def test_paraphrasers_are_trained_and_taken_up(tmp_path):
    """FT's two stages: an autoencoder per teacher, then the student's run loads the encoders."""
    cfg = model_config('ft_paraphrasers_cifar100')
    model = built(cfg)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train_step(images(1), bilevel(model, lr=1e-2))
    after = model.state_dict()
    changed = {key for key in after if not torch.equal(after[key], before[key])} - {'_extra_state'}
    assert changed
    assert all(
        '.connectors.paraphraser.' in key
        or ('student' in key and 'running' in key)
        or 'num_batches' in key
        for key in changed
    )
    torch.save(dict(state_dict=after), tmp_path / 'stage1.pth')
    cfg = Config.fromfile(CHECKOUT / 'configs' / 'compose' / 'ft_r20_cifar100.py').model.to_dict()
    for name, distiller in cfg['distiller'].items():
        distiller['connectors']['paraphraser']['init_cfg']['checkpoint'] = str(
            tmp_path / 'stage1.pth'
        )
        cfg['teachers'][name]['checkpoint'] = None
    second = built(cfg, seed=5)
    for name in cfg['teachers']:
        key = f'distiller.distillers.{name}.connectors.paraphraser.encoder.0.weight'
        assert torch.equal(second.state_dict()[f'lanes.search.{key}'], after[f'lanes.all.{key}'])


def test_ofd_margins_are_those_of_each_teacher(tmp_path):
    """The mean of the negative part of N(bias, weight²), by channel, of the BatchNorm."""
    cfg = model_config('ofd_r20_cifar100')
    teacher = MODELS.build(
        dict(cfg['teachers']['resnet32']['model'], type='mmpretrain.ImageClassifier')
    )
    norm = teacher.backbone.layer3[4].bn1
    norm.weight.data, norm.bias.data = torch.linspace(-0.8, 1.5, 64), torch.linspace(2, -1, 64)
    norm.weight.data[0] = 0.3  # at bias 2 all but never negative: −3 σ
    torch.save(dict(state_dict=teacher.state_dict()), tmp_path / 'teacher.pth')
    cfg['teachers']['resnet32']['checkpoint'] = str(tmp_path / 'teacher.pth')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg)
    margins = {
        name: d.connectors['margin'].margin
        for name, d in model.lanes['search'].distiller.distillers.items()
    }
    assert {name: m.shape[1] for name, m in margins.items()} == dict(
        resnet8x4=256, resnet32=64, resnet14=64
    )
    assert np.allclose(margins['resnet14'].flatten(), -2 / np.sqrt(2 * np.pi))  # weight 1, bias 0
    width = 5e-5
    x = -width * (np.arange(400000) + 0.5)
    for found, scale, mean in zip(
        margins['resnet32'].flatten().tolist(), norm.weight.abs().tolist(), norm.bias.tolist()
    ):
        density = np.exp(-(((x - mean) / scale) ** 2) / 2)
        rare = density.sum() * width / scale / np.sqrt(2 * np.pi) <= 0.001
        expected = -3 * scale if rare else (x * density).sum() / density.sum()
        assert found == pytest.approx(expected, rel=1e-4)
    assert margins['resnet32'].flatten()[0].item() == pytest.approx(-0.9)


def test_a_shared_ofd_distiller_is_an_error():
    cfg = model_config('ofd_r20_cifar100')
    cfg['distiller'] = cfg['distiller']['resnet14']
    with pytest.raises(ValueError, match='give every teacher a distiller of its own'):
        built(cfg)


@pytest.mark.parametrize(
    ('key', 'kind', 'reason'),
    [
        ('type', 'BYOTDistiller', 'deepest exit of the student itself'),
        ('type', 'mmrazor.BYOTDistiller', 'deepest exit of the student itself'),
        ('type', 'DataFreeDistillation', 'generates its own images'),
        ('type', 'mmrazor.DAFLDataFreeDistillation', 'generates its own images'),
        ('type', 'SelfDistill', 'without a teacher'),
        ('type', 'FpnTeacherDistill', 'use mmdynakd.DynaKD in its place'),
        ('type', 'SingleTeacherDistill', 'use mmdynakd.DynaKD in its place'),
        ('type', 'OverhaulFeatureDistillation', "type='OFDDistiller'"),
        ('loss', 'ActivationLoss', 'generator of images'),
        ('loss', 'OnehotLikeLoss', 'generator of images'),
        ('loss', 'InformationEntropyLoss', 'generator of images'),
    ],
)
def test_what_does_not_compose_says_why(key, kind, reason):
    cfg = model_config('kd_r56_cifar100')
    if key == 'type':
        cfg['distiller']['type'] = kind
    else:
        cfg['distiller']['distill_losses']['loss_kl']['type'] = kind
    with pytest.raises(ValueError, match=f'does not compose with several teachers: .*{reason}'):
        built(cfg)


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('ce_r56_cifar100', 'decision has no gradient'),
        ('dkd_r56_cifar100', 'the derivative by the teacher is NaN'),
        ('wsld_r56_cifar100', 'detaches the teacher'),
    ],
)
def test_losses_that_cut_the_teacher_want_mixed_losses(name, reason):
    with pytest.raises(ValueError, match=f"{reason}.*set mix='losses'"):
        built(dict(model_config(name), mix='outputs'))


@pytest.mark.parametrize('kind', ['DataFreeDistillation', 'BYOTDistiller'])
def test_what_does_not_compose_says_why_whatever_else_is_missing(kind):
    cfg = model_config('kd_r56_cifar100')
    cfg['distiller'] = dict(type=kind)
    with pytest.raises(ValueError, match='does not compose with several teachers'):
        built(cfg)


@pytest.mark.parametrize('weight', [None, 1, 0.8])
def test_crd_warns_of_a_weight_that_mmrazor_ignores(weight, monkeypatch):
    said = []
    monkeypatch.setattr(
        checks, 'print_log', lambda message, logger, level: said.append((message, level))
    )
    loss = dict(type='CRDLoss') if weight is None else dict(type='CRDLoss', loss_weight=weight)
    checks.check_config(dict(distill_losses=dict(loss_crd=loss)))
    assert len(said) == (weight == 0.8)
    if said:
        assert 'distill_losses.loss_crd' in said[0][0]
        assert 'ignores loss_weight=0.8' in said[0][0]
        assert said[0][1] == logging.WARNING


@pytest.mark.parametrize(('reduction', 'warns'), [('mean', True), ('batchmean', False)])
def test_dkd_by_mean_warns_and_is_a_sum(reduction, warns, monkeypatch):
    said = []
    monkeypatch.setattr(
        checks, 'print_log', lambda message, logger, level: said.append((message, level))
    )
    cfg = model_config('dkd_r56_cifar100')
    cfg['distiller']['distill_losses']['loss_dkd']['reduction'] = reduction
    model = built(cfg)
    assert len(said) == warns
    if warns:
        assert 'distill_losses.loss_dkd' in said[0][0]
        assert "reduction='batchmean' is the mean" in said[0][0]
        assert said[0][1] == logging.WARNING
    (loss,) = [
        d['loss_dkd']
        for d in (model.lanes['search'].distiller.distillers['shared'].distill_losses,)
    ]
    s, t = torch.randn(2, BATCH, 100, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(BATCH)
    loss.reduction = 'batchmean'
    right = loss(s, t, labels)
    loss.reduction = reduction
    assert loss(s, t, labels).item() == pytest.approx(
        right.item() * (BATCH if warns else 1), rel=1e-5
    )
