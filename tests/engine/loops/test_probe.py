"""A look at the teachers before the first step: it names broken ones and changes nothing."""

import random

import fault_parts  # noqa: F401
import numpy as np
import pytest
import torch
from runs import TEACHERS, network, run, same, search_config

from mmdynakd.engine.loops import bilevel, probe

CROP = [dict(type='RandomCrop', crop_size=8, padding=1), dict(type='PackInputs')]
CHECKPOINT = dict(head='head.fc.weight', conv='backbone.conv1.weight')


def search(work, **options):
    cfg = search_config(work, **{'optim_wrapper.upper_interval': 5, **options})
    cfg.custom_hooks = []
    cfg.train_dataloader.dataset.pipeline = CROP
    return cfg


def change(cfg, teacher, **values):
    """Fills some tensors of a teacher's checkpoint."""
    state = network(seed=7).state_dict()
    for key, value in values.items():
        state[CHECKPOINT[key]].fill_(value)
    torch.save(dict(state_dict=state), cfg.model.teachers[teacher].checkpoint)
    return cfg.model.teachers[teacher].checkpoint


@pytest.fixture
def said(monkeypatch):
    texts = []
    monkeypatch.setattr(probe, 'print_log', lambda text, *_: texts.append(text))
    return texts


def by_iteration(cfg):
    upper = cfg.train_cfg.upper_dataloader
    cfg.pop('train_cfg')
    cfg.train_cfg = dict(
        type='mmdynakd.BilevelIterTrainLoop', max_iters=6, val_interval=6, upper_dataloader=upper
    )
    cfg.param_scheduler.student = dict(type='CosineAnnealingLR', T_max=6, by_epoch=False)
    cfg.default_hooks.checkpoint.by_epoch = False
    return cfg


def in_arrays(cfg):
    loader = cfg.train_dataloader
    loader.dataset = dict(
        type='mmdynakd.ArrayDataset', dataset={**loader.dataset, 'pipeline': []}, crop_padding=1
    )
    loader.collate_fn = dict(type='mmdynakd.batch_collate')
    loader.sampler.type = 'mmdynakd.ViewSampler'
    cfg.model.fast = 'fp32'
    return cfg


@pytest.mark.parametrize(
    'kind', [lambda cfg: cfg, by_iteration, in_arrays], ids=['epochs', 'iterations', 'arrays']
)
def test_a_run_ends_bit_for_bit_as_without_the_look(tmp_path, said, monkeypatch, kind):
    looked = []
    output = probe.TeacherEnsemble.output
    monkeypatch.setattr(
        probe.TeacherEnsemble,
        'output',
        lambda self, name, inputs: looked.append((name, len(inputs))) or output(self, name, inputs),
    )
    found = run(kind(search(tmp_path / 'a' / 'work')))
    assert looked == [(name, 16) for name in TEACHERS]
    assert said == []
    with monkeypatch.context() as patch:
        patch.setattr(bilevel, 'probe_teachers', lambda *_: None)
        expected = run(kind(search(tmp_path / 'b' / 'work')))
    assert len(looked) == len(TEACHERS)
    assert same(found.model.state_dict(), expected.model.state_dict())


def test_the_generators_are_left_alone(tmp_path, monkeypatch):
    states, look = [], bilevel.probe_teachers

    def compared(*args):
        for action in (lambda: None, lambda: look(*args)):
            action()
            numpys = np.random.get_state()  # noqa: NPY002  the global one is what must stay
            states.append((torch.get_rng_state().tolist(), repr(numpys), random.getstate()))

    monkeypatch.setattr(bilevel, 'probe_teachers', compared)
    run(search(tmp_path / 'work', **{'train_cfg.max_epochs': 1}))
    assert states[0] == states[1]


def test_a_teacher_that_gives_nothing_finite_is_named_before_the_first_step(tmp_path, monkeypatch):
    cfg = search(tmp_path / 'work')
    path = change(cfg, 'middle', conv=float('nan'))
    first = "teacher 'middle' gives outputs that are not finite for 16 of 16 training images"
    with pytest.raises(ValueError, match=first) as error:
        run(cfg)
    for part in (
        path,
        '1 of its tensors are not finite, the first is backbone.conv1.weight',
        'mmdynakd check teachers',
    ):
        assert part in str(error.value), part
    assert 'strong' not in str(error.value)
    assert not list((tmp_path / 'work').glob('*.pth'))


def test_a_teacher_that_no_lane_employs_is_not_asked(tmp_path):
    cfg = search(tmp_path / 'work')
    change(cfg, 'middle', conv=float('nan'))
    cfg.model.lanes = dict(a=dict(teachers=['strong', 'weak'], selection=dict(probs='uniform')))
    run(cfg)


def test_a_constant_teacher_is_a_warning(tmp_path, said):
    cfg = search(tmp_path / 'work')
    path = change(cfg, 'weak', head=0.0)
    run(cfg)
    assert len(said) == 1
    assert said[0].startswith(
        f"teacher 'weak' says the same of 16 different images (checkpoint {path})"
    )


@pytest.mark.parametrize(
    ('rows', 'constant'),
    [
        ([[1.0, 2.0], [1.0, 2.0]], True),
        ([[1.0, 2.0], [1.0 + 1e-6, 2.0]], True),
        ([[1.0, 2.0], [1.001, 2.0]], False),
        ([[0.0, 0.0], [0.0, 0.0]], True),
        ([[1.0, 2.0]], False),
    ],
)
def test_constant_up_to_rounding(rows, constant):
    assert probe._constant([torch.tensor(rows)]) == constant


def test_bad_images_are_not_a_teachers_fault(tmp_path, said):
    """Those are left out; without any others nothing is said of teachers."""
    for name, indices in (('one', [0]), ('all', list(range(72)))):
        cfg = search(tmp_path / name / 'work', **{'optim_wrapper.max_skipped': 100})
        cfg.train_dataloader.dataset.pipeline = [
            dict(type='Spoil', indices=indices),
            dict(type='PackInputs'),
        ]
        cfg.model.lanes = dict(a=dict(selection=dict(probs='uniform')))
        run(cfg)
    assert said == []
