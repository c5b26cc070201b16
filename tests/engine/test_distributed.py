"""Two processes on half a batch each do what one process does on the whole batch."""
import os
import socket
import subprocess
import sys

import dist_parts  # noqa: F401
import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from runs import CHECKOUT, TEACHERS, quick, read, run, search_config

pytestmark = pytest.mark.dist
GLOBAL_BATCH = 16


def plain_network(channels: int) -> dict:
    return dict(type='ImageClassifier', backbone=dict(type='SmoothConv', channels=channels),
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', num_classes=10, in_channels=channels,
                          init_cfg=dict(type='Normal', layer='Linear', std=0.5)))


VARIANTS = {
    'the paper': {},
    'unrolled, a sample each': {
        'model.upper_objective': 'unrolled', 'model.distiller.distill_losses.loss_kl.reduction': 'none',
        'model.distribution': dict(granularity='sample', gumbel_temperature=1.0, entropy_weight=0.01)},
}


def dist_config(work, processes: int, variant: str):
    """64 training and 48 other images, in global batches of 16 with no padding; nothing random, no BatchNorm."""
    cfg = search_config(work)
    cfg.custom_imports = dict(imports=['dist_parts'], allow_failed_imports=False)
    cfg.model.architecture = plain_network(8)
    for seed, name in enumerate(TEACHERS):
        torch.manual_seed(seed)
        cfg.model.teachers[name].model = plain_network(12)
        cfg.model.teachers[name].checkpoint = teacher_file(work.parent, name)
    others = [cfg.train_cfg.upper_dataloader, cfg.val_dataloader, cfg.test_dataloader]
    for loader in (cfg.train_dataloader, *others):
        loader.batch_size = GLOBAL_BATCH // processes
        loader.dataset.update(indices=64 if loader is cfg.train_dataloader else 48,
                              pipeline=[dict(type='PackInputs', meta_keys=('sample_idx', ))])
    cfg.custom_hooks[0].pop('baselines')
    cfg.custom_hooks[0].update(single_teachers=False)
    cfg.custom_hooks.append(dict(type='RankWitness'))
    cfg.merge_from_dict(VARIANTS[variant])
    return cfg


def teacher_file(folder, name: str) -> str:
    """A checkpoint of ``plain_network(12)``, the same for every run in ``folder``."""
    path = folder / f'plain_{name}.pth'
    if not path.exists():
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            model = MODELS.build(plain_network(12))
        model.init_weights()
        torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def launch(cfg, folder, processes: int) -> subprocess.CompletedProcess:
    """``tools/dist_train.sh`` on the CPU, as a user would start it."""
    with quick():
        cfg.dump(folder / 'config.py')
    env = dict(os.environ, PORT=str(free_port()), PYTHON=sys.executable, OMP_NUM_THREADS='1',
               CUDA_VISIBLE_DEVICES='', PYTHONPATH=os.pathsep.join([str(CHECKOUT / 'tests' / 'engine'), str(CHECKOUT)]))
    command = ['bash', str(CHECKOUT / 'tools' / 'dist_train.sh'), str(folder / 'config.py'), str(processes),
               '--work-dir', str(folder / 'two')]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope='module', params=VARIANTS)
def both(tmp_path_factory, request):
    """The work dirs of one process and of two, and how the launcher ended."""
    folder = tmp_path_factory.mktemp('distributed')
    ended = launch(dist_config(folder / 'two', 2, request.param), folder, 2)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    cfg = dist_config(folder / 'one', 1, request.param)
    by_name = cfg.model.pop('teachers')  # MMEngine sorts the keys of a config that it dumps, as launch() does
    cfg.model.teachers = {name: by_name[name] for name in sorted(by_name)}
    run(cfg)
    return folder / 'one', folder / 'two'


def witness(work, stage: str, rank: int) -> dict:
    return torch.load(work / stage / f'rank{rank}.pth', weights_only=True)


def furthest(first: dict, second: dict, wanted: str) -> float:
    assert first.keys() == second.keys()
    gaps = [(first[key].double() - second[key].double()).abs().max() for key in first if wanted in key]
    return torch.stack(gaps).max().item()


STAGES = ['.', 'evaluation']


def test_the_launcher_writes_all_results(both):
    results = read(both[1], 'results.json')
    assert results['processes'] == 2
    assert [row['name'] for row in results['lanes']] == ['cat1', 'cat2']
    exported = torch.load(both[1] / 'student.pth', weights_only=True)['state_dict']
    prefix = f"lanes.{results['selected']}.student."
    trained = witness(both[1], 'evaluation', 0)['state_dict']
    assert all(torch.equal(value, trained[prefix + key]) for key, value in exported.items())


@pytest.mark.parametrize('stage', STAGES)
def test_the_batches_are_the_same(both, stage):
    whole = witness(both[0], stage, 0)['ids']
    halves = [witness(both[1], stage, rank)['ids'] for rank in (0, 1)]
    assert [sorted(ids) for ids in whole] == [sorted(a + b) for a, b in zip(*halves, strict=True)]
    assert len(whole) == 8 and all(len(a) == len(b) == GLOBAL_BATCH // 2 for a, b in zip(*halves))


@pytest.mark.parametrize('stage', STAGES)
def test_processes_agree_bit_for_bit(both, stage):
    first, second = (witness(both[1], stage, rank)['state_dict'] for rank in (0, 1))
    assert furthest(first, second, '') == 0


def test_theta_is_that_of_one_process(both):
    one, two = (read(work, 'candidates.json')['candidates'] for work in both)
    for single, double in zip(one, two, strict=True):
        assert list(double['theta'].values()) == pytest.approx(list(single['theta'].values()), abs=1e-6)
        assert max(abs(value - 1 / 3) for value in single['theta'].values()) > 0.01  # far from uniform for abs=1e-6


@pytest.mark.parametrize('stage', STAGES)
def test_students_are_those_of_one_process(both, stage):
    one, two = (witness(work, stage, 0)['state_dict'] for work in both)
    assert furthest(one, two, 'student') < 1e-5


def test_metrics_are_those_of_one_process(both):
    one, two = (read(work, 'results.json') for work in both)
    assert one['selected'] == two['selected']
    for single, double in zip(one['lanes'], two['lanes'], strict=True):
        assert (double['val'], double['test']) == (single['val'], single['test'])
