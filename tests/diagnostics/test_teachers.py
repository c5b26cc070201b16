"""The report on the teachers: each number against a plain loop, each warning where it belongs."""

import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from runs import CHECKOUT, network, quick, search_config

from mmdynakd.datasets import Digits
from mmdynakd.diagnostics.accuracy import (
    Predictions,
    TeacherFacts,
    check_teachers,
    renumbered_accuracy,
)
from mmdynakd.diagnostics.predictions import multiply_adds, parameters
from mmdynakd.diagnostics.teachers import build_teachers, run_check
from mmdynakd.launch.checks import Progress
from mmdynakd.report.teachers_table import teachers_table
from mmdynakd.values import TeacherReport, read
from tools import call

CLASSES = 10


def predictions(total, seed=0, **accuracy):
    """Teachers that are right on the given share of samples, and one class too high elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (total,), generator=generator)
    predicted, confidence = {}, {}
    for name, part in accuracy.items():
        wrong = torch.rand(total, generator=generator).argsort() >= round(part * total)
        predicted[name] = (labels + wrong) % CLASSES
        confidence[name] = 0.5 + torch.rand(total, generator=generator) / 2
    return Predictions(
        labels,
        predicted,
        confidence,
        dict.fromkeys(accuracy, CLASSES),
        dict.fromkeys(accuracy, 100.0),
    )


def test_rows_and_agreement_are_plain_loops():
    val = predictions(300, a=0.8, b=0.7)
    report = check_teachers(
        val,
        predictions(500, 1, a=0.79, b=0.71),
        dict(a=TeacherFacts(parameters=10, published=79.5)),
    )
    first, second = report.teachers
    assert report.samples == dict(val=300, test=500)
    assert (first.name, first.val, first.test, first.published) == (
        'a',
        80.0,
        79.0,
        79.5,
    )
    assert (second.val, second.published, second.parameters) == (70.0, None, None)
    labels, classes = val.labels.tolist(), {name: val.predicted[name].tolist() for name in 'ab'}
    both = sum(x == y for x, y in zip(classes['a'], classes['b'])) / 300
    assert report.agreement == {'a': {'a': 1, 'b': both}, 'b': {'a': both, 'b': 1}}
    assert 0.5 < both < 0.8
    confidence = val.confidence['a'].tolist()
    assert first.confidence == pytest.approx(100 * sum(confidence) / 300)
    gaps = [0.0] * 15
    for value, own, label in zip(confidence, classes['a'], labels):
        gaps[min(int(np.ceil(value * 15)), 15) - 1] += (own == label) - value
    assert first.ece == pytest.approx(100 * sum(map(abs, gaps)) / 300, abs=1e-4)
    assert report.warnings == ()


def warnings_of(val, test=None, published=None):
    facts = (
        {}
        if published is None
        else {name: TeacherFacts(published=published) for name in val.predicted}
    )
    return check_teachers(val, test, facts).warnings


def test_near_chance_is_said_with_the_keys_to_look_at():
    guessing = predictions(5000, t=0.0)
    guessing.predicted['t'][:] = torch.randint(
        0, CLASSES, (5000,), generator=torch.Generator().manual_seed(1)
    )
    (line,) = warnings_of(guessing, predictions(9000, t=0.0), 70.0)  # one cause, one warning
    assert 'near chance (10.00 %)' in line
    assert 'model.teachers.t.model.data_preprocessor' in line
    assert 'mean, std and to_rgb' in line
    assert 'channel_order' in line
    assert 'renumbered' not in line
    assert warnings_of(predictions(5000, t=0.19))
    assert not warnings_of(predictions(5000, t=0.21))
    # above 2/C, but of 10 images that says nothing
    assert warnings_of(predictions(10, t=0.3))
    assert not warnings_of(predictions(10, t=0.5))


def test_near_chance_with_two_classes_is_halfway():
    for part, expected in ((0.74, 1), (0.76, 0)):
        val = predictions(5000, t=part)
        two = Predictions(
            val.labels % 2,
            {
                't': torch.where(
                    val.predicted['t'] == val.labels, val.labels % 2, 1 - val.labels % 2
                )
            },
            val.confidence,
            {'t': 2},
            val.images_per_second,
        )
        assert len(warnings_of(two)) == expected


def test_another_order_of_the_classes_is_recognised():
    shifted = predictions(2000, t=0.0)  # every prediction is one class too high
    (line,) = warnings_of(shifted)
    assert 'with its classes renumbered it has 100.0 %' in line
    assert 'another order of the classes' in line


def test_renumbered_accuracy_is_the_best_of_all_permutations():
    from itertools import permutations

    generator = torch.Generator().manual_seed(0)
    labels, predicted = (torch.randint(0, 4, (60,), generator=generator) for _ in range(2))
    pairs = list(zip(predicted.tolist(), labels.tolist()))
    best = max(sum(order[p] == y for p, y in pairs) for order in permutations(range(4)))
    assert renumbered_accuracy(predicted, labels, 4) == pytest.approx(100 * best / 60)


def test_a_teacher_that_has_seen_val():
    val = predictions(5000, t=0.75)
    (line,) = warnings_of(val, predictions(10000, 1, t=0.70))
    assert '75.00 % on val against 70.00 % (test)' in line
    assert 'trained on the images of val' in line
    assert not warnings_of(val, predictions(10000, 1, t=0.725))  # significant, but 2.5 points
    assert not warnings_of(
        predictions(200, t=0.75), predictions(400, 1, t=0.70)
    )  # 5 points, but few images
    assert not warnings_of(val, predictions(10000, 1, t=0.80))
    # without test, the published accuracy stands for it
    (line,) = warnings_of(val, None, 70.0)
    assert 'its published accuracy on test' in line
    assert not warnings_of(val)
    assert not warnings_of(val, None, 74.0)


def test_a_teacher_below_its_published_accuracy():
    (line,) = warnings_of(predictions(5000, t=0.66), None, 70.0)
    assert '66.00 % on val, published 70.00 %' in line
    assert 'mean, std, to_rgb' in line
    (line,) = warnings_of(predictions(5000, t=0.66), predictions(10000, 1, t=0.65), 70.0)
    assert '65.00 % on test' in line
    assert not warnings_of(predictions(5000, t=0.68), None, 70.0)
    assert not warnings_of(predictions(100, t=0.66), None, 70.0)


def test_the_table_shows_what_there_is():
    val = predictions(300, a=0.8, b=0.05)
    report = check_teachers(
        val, None, dict(a=TeacherFacts(parameters=272474, multiply_adds=40_820_000))
    )
    lines = teachers_table(report).splitlines()
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    assert cells[0] == [
        'teacher',
        'val',
        'confidence',
        'ECE',
        'parameters (M)',
        'multiply-adds (M)',
        'images/s',
    ]
    assert cells[2][:2] == ['a', '80.00']
    assert cells[2][4:] == ['0.272', '40.82', '100']
    assert cells[3][:2] == ['b', '5.00']
    assert cells[3][4:] == ['–', '–', '100']
    assert cells[8] == ['same prediction on val', 'a', 'b']
    assert cells[10] == ['a', '1.000', f'{report.agreement["a"]["b"]:.3f}']
    assert len({len(line) for line in lines[:4]}) == 1  # aligned
    assert lines[-1].startswith('WARNING b: 5.00 % on val is near chance')


def test_parameters_and_multiply_adds_of_a_network_counted_by_hand():
    model = network(8)
    convolutions = [
        (3, 16, 8, 9),
        (16, 16, 8, 9),
        (16, 16, 8, 9),
        (16, 32, 4, 9),
        (32, 32, 4, 9),
        (16, 32, 4, 1),
        (32, 64, 2, 9),
        (64, 64, 2, 9),
        (32, 64, 2, 1),
    ]  # in, out, side of the output, kernel
    expected = sum(a * b * side**2 * kernel for a, b, side, kernel in convolutions) + 64 * 10
    assert multiply_adds(model, torch.zeros(1, 3, 8, 8)) == expected
    norms = 2 * sum(width for _, width, _, _ in convolutions)
    assert (
        parameters(model)
        == sum(a * b * kernel for a, b, _, kernel in convolutions) + norms + 64 * 10 + 10
    )
    assert (
        multiply_adds(model, torch.zeros(1, 5, 8, 8)) is None
    )  # it cannot run: a dash in the table


@pytest.fixture
def digits(tmp_path):
    return search_config(tmp_path / 'work')


def test_predictions_are_those_of_training(digits):
    """Accuracy by hand: raw pixels of the data set, the teacher's own normalisation, argmax."""
    digits.model.teachers.weak.model.data_preprocessor = dict(
        type='ClsDataPreprocessor', mean=[0.0] * 3, std=[9.0] * 3
    )
    seen = []
    report = run_check(
        digits, None, lambda split, batches: lambda done: seen.append((split, batches, done))
    )
    assert seen == [(split, 3, done) for split in ('val', 'test') for done in (1, 2, 3)]
    ensemble, _ = build_teachers(digits)
    for split in ('val', 'test'):
        data = Digits(split=split, channels=3, pipeline=[], indices=40)
        images = (
            torch.from_numpy(np.stack([data[i]['img'] for i in range(40)]))
            .permute(0, 3, 1, 2)
            .float()
        )
        labels = torch.tensor([data[i]['gt_label'] for i in range(40)])
        for row, (name, teacher) in zip(report.teachers, ensemble.networks.items()):
            mean, std = (0.0, 9.0) if name == 'weak' else (76.3, 92.0)
            right = (teacher((images - mean) / std).argmax(1) == labels).sum().item()
            assert row.name == name
            assert getattr(row, split) == pytest.approx(100 * right / 40)
    assert run_check(digits, ['val']).teachers[0].test is None


def test_a_teacher_that_breaks_is_named(digits):
    weights = torch.load(digits.model.teachers.weak.checkpoint, weights_only=True)
    weights['state_dict']['head.fc.bias'][0] = float('nan')
    torch.save(weights, digits.model.teachers.weak.checkpoint)
    with pytest.raises(ValueError, match="teacher 'weak' gives no finite"):
        run_check(digits, ['val'])


@pytest.mark.parametrize(
    ('key', 'splits', 'message'),
    [
        ('model', None, 'no model.teachers'),
        ('val_dataloader', None, 'no val_dataloader'),
        ('test_dataloader', ['val', 'test'], 'no test_dataloader'),
    ],
)
def test_a_config_without_what_is_needed(digits, key, splits, message):
    digits.pop(key)
    with pytest.raises(ValueError, match=message):
        run_check(digits, splits)


def test_the_tool_prints_and_writes(digits, tmp_path, capsys):
    with quick():
        digits.dump(tmp_path / 'config.py')
    out, kept = tmp_path / 'reports' / 'teachers.json', tmp_path / 'kept'
    arguments = [
        str(tmp_path / 'config.py'),
        '--out',
        str(out),
        '--work-dir',
        str(kept),
        '--cfg-options',
        'val_dataloader.dataset.indices=20',
    ]
    assert call('check_teachers', *arguments)[0] == 0
    report = read(str(out), TeacherReport, 'write it again')
    assert report.samples == dict(val=20, test=40)
    assert [row.name for row in report.teachers] == [
        'middle',
        'strong',
        'weak',
    ]  # as MMEngine dumps them
    table = teachers_table(report)
    assert capsys.readouterr().out.endswith(table)
    assert (kept / 'teachers.md').read_text(encoding='utf-8') == table
    assert (kept / 'teachers.json').read_bytes() == out.read_bytes()
    assert table.count('WARNING') == 3
    assert 'near chance (10.00 %)' in table
    code, said = call('check_teachers', *arguments, 'model.teachers.weak.checkpoint=no.pth')
    assert code == 2
    assert re.search(r"error: Teacher 'weak': the checkpoint .*no\.pth is missing", said)
    code, said = call('check_teachers', arguments[0], '--launcher', 'pytorch')
    assert code == 2
    assert '--launcher: the teachers are checked in one process' in said


def test_progress_says_what_is_left(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr('mmdynakd.launch.checks.time.monotonic', lambda: now[0])
    progress = Progress('val', 10)
    for done in range(1, 11):
        now[0] += 2.0
        progress(done)
    assert capsys.readouterr().err.splitlines() == [
        'val: 3/10 batches, 14 s left',
        'val: 6/10 batches, 8 s left',
        'val: 9/10 batches, 2 s left',
        'val: 10/10 batches, 0 s left',
    ]


def real_config(shared, root, **model):
    cfg = Config.fromfile(CHECKOUT / 'configs' / 'dynakd_r8_cifar100_cpu.py')
    teacher = cfg.model.teachers.pop('resnet32')
    cfg.model.teachers = dict(resnet8=teacher)
    teacher.checkpoint = str(shared / 'teachers' / 'resnet8.pth')
    teacher.model.backbone.depth = 8
    teacher.model.update(model)
    for split in ('val', 'test'):
        cfg[f'{split}_dataloader'].dataset.update(
            data_root=root, verify=False, download=False, indices=500
        )
    return cfg


@pytest.mark.slow
def test_a_real_teacher_on_real_images(shared, cifar100_root):
    report = run_check(real_config(shared, cifar100_root))
    (row,) = report.teachers
    assert row.val == pytest.approx(50.24, abs=7)
    assert row.test == pytest.approx(50.61, abs=7)
    assert report.warnings == ()
    wrong = dict(data_preprocessor=dict(type='ClsDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3))
    (line,) = run_check(real_config(shared, cifar100_root, **wrong), ['val']).warnings
    assert 'near chance (1.00 %)' in line
