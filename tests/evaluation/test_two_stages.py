"""All of it through MMEngine's Runner: search, candidates, evaluation, choice, export, report."""

import copy
import csv
import math
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.apis import ImageClassificationInferencer, inference_model, init_model
from mmpretrain.apis.model import ModelHub
from PIL import Image
from runs import CHECKOUT, TEACHERS, read, run, same, search_config, weights

from mmdynakd.datasets import Digits
from mmdynakd.models import DynaKD
from mmdynakd.registry import MODELS
from mmdynakd.workdir.identity import config_hash

LANES = ['cat1', 'cat2', 'ce', 'uniform', *(f'only_{name}' for name in TEACHERS)]
BATCHES, EPOCHS = 5, 2


@pytest.fixture(scope='module')
def search(tmp_path_factory):
    """A finished run, with the upper losses and θ of every step, noted beside it."""
    work = tmp_path_factory.mktemp('two_stages') / 'work'
    upper_step, seen = (
        DynaKD.upper_step,
        SimpleNamespace(work=work, losses=[], thetas=[[1 / 3] * 3]),
    )

    def noted(self, data, optim_wrapper, train_data=None):
        losses = upper_step(self, data, optim_wrapper, train_data)
        seen.losses.append(losses['search'].item())
        alpha = self.lanes['search'].selection.alpha.detach().double().numpy()
        seen.thetas.append((np.exp(alpha) / np.exp(alpha).sum()).tolist())
        return losses

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DynaKD, 'upper_step', noted)
        seen.runner = run(search_config(work))
    return seen


def evaluation(search) -> DynaKD:
    """The evaluation's last epoch, rebuilt from its own dumped config and checkpoint."""
    cfg = Config.fromfile(search.work / 'evaluation' / 'dynakd_digits.py')
    model = cfg.model
    model.setdefault('data_preprocessor', cfg.data_preprocessor)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        algorithm = MODELS.build(model)
    algorithm.load_state_dict(weights(search.work / 'evaluation' / f'epoch_{EPOCHS}.pth'))
    return algorithm.eval()


def digits(split: str):
    """The 40 images and labels that the run's val or test loader serves."""
    samples = list(Digits(split=split, channels=3, indices=40, pipeline=[], serialize_data=False))
    images = np.stack([sample['img'] for sample in samples]).transpose(0, 3, 1, 2)
    return torch.from_numpy(images.copy()), torch.tensor([sample['gt_label'] for sample in samples])


def logits(student, images) -> torch.Tensor:
    inputs = student.data_preprocessor(dict(inputs=images), training=False)['inputs']
    with torch.no_grad():
        return torch.cat([student.head(student.extract_feat(part)) for part in inputs.split(16)])


def in_search_order(cfg) -> None:
    """MMEngine sorts the keys of configs that it dumps; draws depend on the order of teachers."""
    by_name = cfg.model.pop('teachers')
    cfg.model.teachers = {name: by_name[name] for name in TEACHERS}


def alone(search, out, lane: str) -> dict:
    """The evaluation's config, cut down to one lane, run by itself."""
    cfg = Config.fromfile(search.work / 'evaluation' / 'dynakd_digits.py')
    in_search_order(cfg)
    own = cfg.model.lanes[lane]
    cfg.model.pop('lanes')
    cfg.model.lanes = {lane: own}
    cfg.work_dir = str(out)
    cfg.custom_hooks = [dict(type='mmdynakd.ResultsHook', candidates=[lane])]
    run(cfg)
    return read(out, 'results.json')


def test_candidates_are_the_snapshots(search):
    found = read(search.work, 'candidates.json')
    assert found['seed'] == 0
    assert found['teachers'] == list(TEACHERS)
    assert found['merged'] == []
    assert [c['name'] for c in found['candidates']] == ['cat1', 'cat2']
    assert len(search.losses) == BATCHES * EPOCHS
    for candidate, step in zip(found['candidates'], (BATCHES, BATCHES * EPOCHS), strict=True):
        theta = candidate['theta']
        assert list(theta) == list(TEACHERS)
        assert list(theta.values()) == pytest.approx(search.thetas[step], abs=1e-12)
        assert sum(theta.values()) == pytest.approx(1, abs=1e-12)
        assert candidate['step'] == step
        assert candidate['lane'] == 'search'
        assert candidate['entropy'] == pytest.approx(
            -sum(p * math.log(p) for p in theta.values()), abs=1e-12
        )
        assert candidate['upper_loss'] == pytest.approx(np.mean(search.losses[:step]), rel=1e-6)
    assert search.thetas[BATCHES] != pytest.approx(search.thetas[0], abs=0.05)  # θ did move


def test_theta_curve(search):
    with open(search.work / 'theta.csv', encoding='utf-8', newline='') as file:
        rows = list(csv.reader(file))
    assert rows[0] == ['step', 'lane', *TEACHERS]
    points = [[float(value) for value in row[2:]] for row in rows[1:]]
    assert [int(row[0]) for row in rows[1:]] == list(range(BATCHES * EPOCHS + 1))
    assert points[0] == [1 / 3] * 3
    assert points[-1] == list(
        read(search.work, 'candidates.json')['candidates'][-1]['theta'].values()
    )
    assert np.array(points) == pytest.approx(np.array(search.thetas), abs=1e-12)
    with Image.open(search.work / 'theta.png') as image:
        image.load()
        assert image.format == 'PNG'
        assert image.width > image.height > 300
        assert (
            len(np.unique(np.asarray(image.convert('RGB')).reshape(-1, 3), axis=0)) > 20
        )  # lines of several colours


def test_theta_reaches_the_visualizer(search):
    (path,) = search.work.glob('*/vis_data/scalars.json')
    logged = [
        line for line in map(eval, path.read_text().splitlines()) if 'search/upper_loss' in line
    ]
    assert [line['step'] for line in logged] == [BATCHES, BATCHES * EPOCHS]
    for line in logged:
        shown = [line[f'search/theta/{name}'] for name in TEACHERS]
        assert shown == pytest.approx(search.thetas[line['step']], abs=1e-12)


def test_results_hold_every_lane(search):
    results = read(search.work, 'results.json')
    assert [row['name'] for row in results['lanes']] == LANES
    roles = {row['name']: row['role'] for row in results['lanes']}
    assert [name for name, role in roles.items() if role == 'candidate'] == ['cat1', 'cat2']
    thetas = {row['name']: row['theta'] for row in results['lanes']}
    assert thetas['ce'] is None
    assert list(thetas['uniform'].values()) == [1 / 3] * 3
    assert thetas['only_middle'] == dict(strong=0.0, middle=1.0, weak=0.0)
    for candidate in read(search.work, 'candidates.json')['candidates']:
        assert thetas[candidate['name']] == pytest.approx(candidate['theta'], abs=1e-15)
    val = {row['name']: row['val']['accuracy/top1'] for row in results['lanes']}
    assert results['selected'] == max(('cat1', 'cat2'), key=val.get)
    assert results['seed'] == results['draw_seed'] == 0
    assert (results['epochs'], results['iterations'], results['processes']) == (
        EPOCHS,
        BATCHES * EPOCHS,
        1,
    )
    assert results['versions']['torch'] == torch.__version__.split('+')[0]
    dumped = Config.fromfile(search.work / 'evaluation' / 'dynakd_digits.py')
    assert results['config_sha256'] == config_hash(dumped)


def test_accuracies_are_those_of_a_plain_loop(search):
    algorithm, data = evaluation(search), {split: digits(split) for split in ('val', 'test')}
    for row in read(search.work, 'results.json')['lanes']:
        for split, (images, labels) in data.items():
            right = (
                (logits(algorithm.lanes[row['name']].student, images).argmax(1) == labels)
                .float()
                .mean()
            )
            assert row[split] == {'accuracy/top1': pytest.approx(100 * right.item(), abs=1e-4)}


def test_the_table_shows_every_lane(search):
    results = read(search.work, 'results.json')
    table = (search.work / 'results.md').read_text(encoding='utf-8')
    for row in results['lanes']:
        shown = f'**{row["name"]}** (Cat*)' if row['name'] == results['selected'] else row['name']
        val, test = (row[split]['accuracy/top1'] for split in ('val', 'test'))
        assert f'| {shown} | {val:.2f} | {test:.2f} |' in table


def test_the_export_is_the_student_alone(search, tmp_path):
    selected = read(search.work, 'results.json')['selected']
    student = evaluation(search).lanes[selected].student
    exported = weights(search.work / 'student.pth')
    assert same(exported, student.state_dict())
    assert not [
        key for key in exported if 'teacher' in key or any(name in key for name in TEACHERS)
    ]
    model = init_model(
        str(search.work / 'student.py'), str(search.work / 'student.pth'), device='cpu'
    )
    images, _ = digits('test')
    expected = logits(student, images)
    assert torch.equal(logits(model, images), expected)
    Image.fromarray(images[3].numpy().transpose(1, 2, 0)).save(tmp_path / 'digit.png')
    files = [str(search.work / name) for name in ('student.py', 'student.pth')]
    (found,) = ImageClassificationInferencer(files[0], files[1], device='cpu')(
        str(tmp_path / 'digit.png')
    )
    assert found['pred_scores'] == pytest.approx(expected[3].softmax(0).numpy(), abs=1e-6)
    assert found['pred_class'] == str(expected[3].argmax().item())
    ModelHub.register_model_index(str(search.work / 'student.yml'))
    named = inference_model(search.work.name, str(tmp_path / 'digit.png'), device='cpu')
    assert named['pred_scores'] == pytest.approx(found['pred_scores'])


@pytest.mark.parametrize('lane', ['cat2', 'ce', 'only_weak'])
def test_a_lane_equals_its_solo_run(search, tmp_path, lane):
    results = alone(search, tmp_path, lane)
    (row,) = results['lanes']
    beside = next(r for r in read(search.work, 'results.json')['lanes'] if r['name'] == lane)
    assert (row['val'], row['test'], row['theta']) == (
        beside['val'],
        beside['test'],
        beside['theta'],
    )
    solo = weights(tmp_path / f'epoch_{EPOCHS}.pth')
    lanes = weights(search.work / 'evaluation' / f'epoch_{EPOCHS}.pth')
    prefix = f'lanes.{lane}.student.'
    assert same(
        {k: v for k, v in solo.items() if k.startswith(prefix)},
        {k: v for k, v in lanes.items() if k.startswith(prefix)},
    )
    others = [k.replace(prefix, 'lanes.uniform.student.') for k in solo if k.startswith(prefix)]
    assert any(
        not torch.equal(lanes[k], solo[k.replace('uniform', lane)]) for k in others
    )  # lanes do differ


def test_equal_candidates_are_evaluated_once_and_said_so(tmp_path):
    cfg = search_config(
        tmp_path / 'work', **{'optim_wrapper.theta.optimizer.lr': 0.0, 'log_level': 'INFO'}
    )
    cfg.custom_hooks[0].pop('baselines')
    cfg.custom_hooks[0].update(num_candidates=3, single_teachers=False)
    cfg.train_cfg.max_epochs = 1
    run(cfg)
    found = read(tmp_path / 'work', 'candidates.json')
    assert [(c['name'], c['theta']['weak']) for c in found['candidates']] == [
        ('cat1', pytest.approx(1 / 3))
    ]
    assert [(c['name'], c['same_as']) for c in found['merged']] == [
        ('cat2', 'cat1'),
        ('cat3', 'cat1'),
    ]
    assert [row['name'] for row in read(tmp_path / 'work', 'results.json')['lanes']] == ['cat1']
    (log,) = (tmp_path / 'work').glob('*/*.log')
    assert 'candidate cat3 equals cat1 (total variation < 0.01): evaluated once' in log.read_text()


def test_the_choice_is_made_on_val_among_the_candidates_before_test_is_seen(
    search, tmp_path, monkeypatch
):
    val = dict(cat1=30.0, cat2=40.0, ce=99.0, uniform=98.0)
    test = dict(cat1=90.0, cat2=10.0, ce=5.0, uniform=5.0)
    exported = []

    def scripted(scores, note):
        def loop(self):
            note()
            self.lane_metrics = {name: {'accuracy/top1': score} for name, score in scores.items()}

        return loop

    monkeypatch.setattr('mmdynakd.engine.LaneValLoop.run', scripted(val, lambda: None))
    monkeypatch.setattr(
        'mmdynakd.engine.LaneTestLoop.run',
        scripted(test, lambda: exported.append(weights(tmp_path / 'student.pth'))),
    )
    cfg = Config.fromfile(search.work / 'evaluation' / 'dynakd_digits.py')
    lanes = {name: copy.deepcopy(cfg.model.lanes[name]) for name in val}
    cfg.model.pop('lanes')
    cfg.model.lanes, cfg.work_dir, cfg.train_cfg.max_epochs = lanes, str(tmp_path), 1
    cfg.custom_hooks[-1].out_dir = str(tmp_path)
    run(cfg)
    results = read(tmp_path, 'results.json')
    assert results['selected'] == 'cat2'
    assert {row['name']: row['test']['accuracy/top1'] for row in results['lanes']} == test
    assert len(exported) == 1  # one pass over test, after the export
    trained = weights(tmp_path / 'epoch_1.pth')
    assert same(
        exported[0],
        {
            k.removeprefix('lanes.cat2.student.'): v
            for k, v in trained.items()
            if k.startswith('lanes.cat2.student.')
        },
    )


@pytest.mark.slow
def test_tools_test_gives_the_accuracy_of_the_results(search, tmp_path):
    student = [search.work / 'student.py', search.work / 'student.pth']
    command = [
        sys.executable,
        CHECKOUT / 'tools' / 'test.py',
        *student,
        '--work-dir',
        tmp_path / 'tested',
        '--out',
        tmp_path / 'metrics.json',
    ]
    path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get('PYTHONPATH')]))
    subprocess.run(
        list(map(str, command)),
        check=True,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        env=dict(os.environ, PYTHONPATH=path),
    )
    results = read(search.work, 'results.json')
    row = next(row for row in results['lanes'] if row['name'] == results['selected'])
    assert read(tmp_path, 'metrics.json')['accuracy/top1'] == row['test']['accuracy/top1']
