"""The CPU-sized CIFAR-100 config on real images with real teachers, through the command line."""

import os
import re
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from runs import CHECKOUT, read

from mmdynakd.datasets import CIFAR100
from mmdynakd.models.teachers import TeacherEnsemble

CONFIG = CHECKOUT / 'configs' / 'dynakd_r8_cifar100_cpu.py'
TEACHERS = ('resnet8x4', 'resnet32', 'resnet14')
IMAGES = 500


@pytest.fixture(scope='module')
def checkpoints(shared) -> dict[str, str]:
    files = {name: shared / 'teachers' / f'{name}.pth' for name in TEACHERS}
    absent = [str(path) for path in files.values() if not path.is_file()]
    if absent:
        pytest.skip(f'these real teachers are absent: {absent}')
    return {name: str(path) for name, path in files.items()}


def published(shared, name: str) -> float:
    """The val accuracy that the teachers' own README tells."""
    table = (shared / 'teachers' / 'README.md').read_text(encoding='utf-8')
    return float(re.search(rf'\| {name}\.pth \| \d+ \| ([\d.]+) \|', table).group(1))


@pytest.mark.slow
def test_loaded_teachers_are_as_accurate_as_published(shared, cifar100_root, checkpoints):
    cfg = Config.fromfile(CONFIG)
    for name, teacher in cfg.model.teachers.items():
        teacher.checkpoint = checkpoints[name]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        ensemble = TeacherEnsemble(cfg.model.teachers, cfg.data_preprocessor)
    source = dict(type='ModuleOutputs', source='head.fc')
    keys = {name: ensemble.record(name, source) for name in ensemble.names}
    limits = dict(indices=IMAGES, pipeline=[], serialize_data=False)
    samples = list(CIFAR100(cifar100_root, split='val', verify=False, download=False, **limits))
    labels = torch.tensor([sample['gt_label'] for sample in samples])
    images = torch.stack([torch.from_numpy(sample['img']) for sample in samples]).permute(
        0, 3, 1, 2
    )
    parts = [ensemble.run(TEACHERS, part) for part in images.split(50)]
    for name in TEACHERS:
        logits = torch.cat([records[name][keys[name]][0] for records in parts])
        accuracy = 100 * (logits.argmax(1) == labels).float().mean().item()
        told = published(shared, name)
        error = 100 * (told / 100 * (1 - told / 100) / IMAGES) ** 0.5
        assert abs(accuracy - told) < 3 * error


@pytest.mark.slow
def test_both_stages_by_the_command_line(tmp_path, cifar100_root, checkpoints):
    upper = 'train_cfg.upper_dataloader'
    limits = {'train_dataloader': 256, upper: 128, 'val_dataloader': 128, 'test_dataloader': 128}
    options = [
        f'{loader}.dataset.{key}={value}'
        for loader, count in limits.items()
        for key, value in dict(
            data_root=cifar100_root, verify=False, download=False, indices=count
        ).items()
    ]
    options += [f'model.teachers.{name}.checkpoint={path}' for name, path in checkpoints.items()]
    options += [
        'train_cfg.max_epochs=1',
        'custom_hooks.0.num_candidates=1',
        'custom_hooks.0.baselines=None',
        'custom_hooks.0.single_teachers=False',
        'custom_hooks.0.evaluation.train_cfg.max_epochs=1',
        'optim_wrapper.upper_interval=1',
    ]
    command = [
        sys.executable,
        str(CHECKOUT / 'tools' / 'train.py'),
        str(CONFIG),
        '--work-dir',
        str(tmp_path / 'work'),
        '--cfg-options',
        *options,
    ]
    path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get('PYTHONPATH')]))
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=path),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    work = tmp_path / 'work'
    (candidate,) = read(work, 'candidates.json')['candidates']
    results = read(work, 'results.json')
    (row,) = results['lanes']
    assert results['selected'] == row['name'] == candidate['name'] == 'cat1'
    assert results['teachers'] == list(row['theta']) == list(TEACHERS)
    assert row['theta'] == pytest.approx(candidate['theta'], abs=1e-15)
    assert len(set(row['theta'].values())) == 3
    assert (results['epochs'], results['iterations'], candidate['step']) == (1, 2, 2)
    for split in ('val', 'test'):
        assert set(row[split]) == {'accuracy/top1', 'accuracy/top5'}
        right = [value * 128 / 100 for value in row[split].values()]  # of 128 images
        assert right == pytest.approx([round(count) for count in right], abs=1e-3)
        assert 0 <= right[0] <= right[1] <= 128
    exported = torch.load(work / 'student.pth', weights_only=True)['state_dict']
    assert exported['head.fc.weight'].shape == (100, 64)
    assert {path.name for path in work.iterdir()} >= {
        'theta.csv',
        'theta.png',
        'results.md',
        'student.py',
    }
