"""What is wrong is said before anything is trained: where it is, and what to do."""
import math
import os
import pickle
from pathlib import Path

import pytest
import torch
from runs import network, result_files, run, search_config

NAN = math.nan


class Canary:
    """Makes a folder when it is unpickled freely."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place), )


def checkpoint(cfg) -> Path:
    return Path(cfg.model.teachers.middle.checkpoint)


def probs(value):
    return lambda cfg: cfg.model.update(distribution=dict(probs=value))


def hook(**options):
    def edit(cfg):
        cfg.custom_hooks[0].update(options)
    return edit


def baseline(**overrides):
    return hook(baselines=dict(bad=overrides))


def per_teacher(*names: str):
    def edit(cfg):
        one = cfg.model.pop('distiller')
        cfg.model.update(distiller={name: one for name in names}, relaxation='losses')
    return edit


def source(side: str, value: str):
    return lambda cfg: cfg.model.distiller[f'{side}_recorders'].logits.update(source=value)


def truncate(cfg) -> None:
    content = checkpoint(cfg).read_bytes()
    checkpoint(cfg).write_bytes(content[:len(content) // 2])


def booby_trap(cfg) -> None:
    canary = Canary(checkpoint(cfg).parent / 'canary')
    torch.save(dict(state_dict=network().state_dict(), extra=canary), checkpoint(cfg))


def cifar(loader: str, content: bytes | None, **options):
    """``loader`` reads CIFAR-100 from a folder whose files hold ``content``, or are absent."""
    def edit(cfg):
        folder = Path(cfg.work_dir).parent / 'data'
        (folder / 'cifar-100-python').mkdir(parents=True)
        for name in ('train', 'test') if content is not None else ():
            (folder / 'cifar-100-python' / name).write_bytes(content)
        node = cfg.train_cfg.upper_dataloader if loader == 'upper' else cfg[f'{loader}_dataloader']
        node.pop('dataset')
        node.dataset = dict(type='mmdynakd.CIFAR100', data_root=str(folder), split='val', download=False,
                            pipeline=[], **options)
    return edit


TRAIN_IT = 'python tools/train.py configs/teachers/middle_digits.py'
DATA = ['CIFAR100', 'cifar-100-python', 'set data_root to the folder']
# what is wrong: how to make it so, the words of the message that say where and what to do
CASES = {
    'no teachers': (lambda cfg: cfg.model.update(teachers=None),
                    ['at least one teacher', 'teachers=dict(name=']),
    'teacher with other classes': (
        lambda cfg: (cfg.model.teachers.middle.update(checkpoint=None),
                     cfg.model.teachers.middle.model.head.update(num_classes=7)),
        ["teacher 'middle' has 7 classes, the student has 10",
         'set head.num_classes of teachers.middle.model']),
    'checkpoint missing': (lambda cfg: checkpoint(cfg).unlink(),
                           ["Teacher 'middle'", 'teachers/middle.pth', 'is missing', TRAIN_IT]),
    'checkpoint cut short': (truncate,
                             ["Teacher 'middle'", 'teachers/middle.pth', 'damaged, cut short', TRAIN_IT]),
    'checkpoint of another network': (
        lambda cfg: torch.save(dict(state_dict=network(14).state_dict()), checkpoint(cfg)),
        ["Teacher 'middle'", 'teachers/middle.pth', 'of another architecture',
         'backbone.layer1.1.conv1.weight', TRAIN_IT]),
    'checkpoint with code in it': (booby_trap, ["Teacher 'middle'", 'teachers/middle.pth', 'is refused',
                                                'nothing of it was executed', TRAIN_IT]),
    'θ not a number': (probs([NAN, 0.5, 0.5]), ['θ holds NaN', 'nan, 0.5, 0.5']),
    'θ negative': (probs([-0.1, 0.6, 0.5]), ['θ holds a negative probability', '-0.1']),
    'θ too short': (probs([0.5, 0.5]), ['one probability for each of the 3 teachers', '[0.5, 0.5]']),
    'θ off one': (probs([0.5, 0.5, 0.5]), ['θ sums to 1.5, not 1']),
    'θ of an unknown teacher': (probs(dict(strong=0.5, ghost=0.5)),
                                ["['strong', 'middle', 'weak']", "['ghost']"]),
    'distiller of an unknown teacher': (per_teacher('strong', 'middle', 'weak', 'ghost'),
                                        ['a per-teacher distiller', "unknown: ['ghost']"]),
    'distiller of one teacher missing': (per_teacher('strong', 'weak'),
                                         ['a per-teacher distiller', "missing: ['middle']"]),
    'student recorder': (source('student', 'head.ghost'),
                         ['student_recorders', 'no such source', 'head.ghost']),
    'teacher recorder': (source('teacher', 'head.ghost'),
                         ["teacher 'strong'", 'no such source', 'head.ghost']),
    'candidate no simplex': (hook(fixed_candidates=dict(best=[0.5, 0.5])),
                             ['fixed_candidates.best', 'one probability for each of the 3 teachers']),
    'baseline no simplex': (baseline(distribution=dict(probs=[NAN, 0.5, 0.5])), ['θ holds NaN']),
    'baseline of an unknown teacher': (baseline(distribution=dict(probs='ghost')), ["['ghost']"]),
    'baseline with an unknown key': (baseline(ghost=1), ['lanes.bad may override', 'ghost']),
    'candidate named as a snapshot': (hook(fixed_candidates=dict(cat1=[0.2, 0.3, 0.5])), ["['cat1']"]),
    'baseline named as a snapshot': (hook(baselines=dict(cat2=dict(distribution=None))), ["['cat2']"]),
    'candidate named like a loss': (hook(fixed_candidates={'my.loss': [0.2, 0.3, 0.5]}),
                                   ["lane name 'my.loss'"]),
    'M = 0': (hook(num_candidates=0), ['num_candidates must be an integer >= 1', '0']),
    'M = -1': (hook(num_candidates=-1), ['num_candidates must be an integer >= 1', '-1']),
    'M = 1.5': (hook(num_candidates=1.5), ['num_candidates must be an integer >= 1', '1.5']),
    'begin = 1': (hook(begin=1), ['begin must be in [0, 1)']),
    'no search': (probs('uniform'),
                  ['CandidateEvaluationHook observes a search', 'model.distribution.probs is fixed']),
    'images for θ not configured': (lambda cfg: cfg.train_cfg.pop('upper_dataloader'),
                                    ['set train_cfg.upper_dataloader']),
    'no images for θ': (lambda cfg: cfg.train_cfg.upper_dataloader.dataset.update(indices=[]),
                        ['the validation split is empty', 'check train_cfg.upper_dataloader.dataset']),
    'no images for θ, serialized': (
        lambda cfg: cfg.train_cfg.upper_dataloader.dataset.update(indices=[], serialize_data=True),
        ['train_cfg.upper_dataloader cannot be built', 'is its dataset empty?']),
    'no images for the choice': (lambda cfg: cfg.val_dataloader.dataset.update(indices=[]),
                                 ['the val split is empty', 'check val_dataloader.dataset']),
    'no images for the test': (lambda cfg: cfg.test_dataloader.dataset.update(indices=[]),
                               ['the test split is empty', 'check test_dataloader.dataset']),
    'data missing': (cifar('train', None), [*DATA, 'is missing', 'download=True']),
    'data for θ missing': (cifar('upper', None), [*DATA, 'is missing', 'download=True']),
    'data for val missing': (cifar('val', None), [*DATA, 'is missing', 'download=True']),
    'data cut short': (cifar('train', pickle.dumps([1])[:-1]),
                       [*DATA, 'another md5 sum', 'damaged or cut short']),
    'data cut short, unverified': (cifar('upper', pickle.dumps([1])[:-1], verify=False),
                                   [*DATA, 'is damaged']),
}


@pytest.mark.parametrize('case', CASES)
def test_is_an_error_before_anything_is_written(tmp_path, case):
    edit, words = CASES[case]
    cfg = search_config(tmp_path / 'work')
    edit(cfg)
    with pytest.raises((ValueError, RuntimeError)) as caught:
        run(cfg)
    assert [word for word in words if word not in str(caught.value)] == []
    assert result_files(tmp_path / 'work') == []
    assert not (tmp_path / 'teachers' / 'canary').exists()


def test_the_canary_would_have_sung(tmp_path):
    cfg = search_config(tmp_path / 'work')
    booby_trap(cfg)
    torch.load(checkpoint(cfg), weights_only=False)
    assert (tmp_path / 'teachers' / 'canary').is_dir()


def test_without_a_fault_the_files_are_there(tmp_path):
    cfg = search_config(tmp_path / 'work')
    cfg.custom_hooks[0].pop('baselines')
    cfg.train_cfg.max_epochs = 1
    run(cfg)
    found = set(result_files(tmp_path / 'work'))
    assert found >= {'candidates.json', 'results.json', 'student.pth', 'epoch_1.pth', 'theta.csv', 'theta.png'}
