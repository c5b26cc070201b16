"""What is wrong is said before anything is trained: where it is, and what to do."""

import math
import os
import pickle
from pathlib import Path

import pytest
import torch
from runs import network, result_files, run, search_config

from tools import call, content, write_config

NAN = math.nan


class Canary:
    """Makes a folder when it is unpickled freely."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def checkpoint(cfg) -> Path:
    return Path(cfg.model.teachers.middle.checkpoint)


def probs(value):
    return lambda cfg: cfg.model.update(selection=dict(probs=value))


def hook(**options):
    def edit(cfg):
        cfg.custom_hooks[0].update(options)

    return edit


def baseline(**overrides):
    return hook(baselines=dict(bad=overrides))


def per_teacher(*names: str):
    def edit(cfg):
        one = cfg.model.pop('distiller')
        cfg.model.update(distiller={name: one for name in names}, mix='losses')

    return edit


def source(side: str, value: str):
    return lambda cfg: cfg.model.distiller[f'{side}_recorders'].logits.update(source=value)


def truncate(cfg) -> None:
    content = checkpoint(cfg).read_bytes()
    checkpoint(cfg).write_bytes(content[: len(content) // 2])


def booby_trap(cfg, path: Path | None = None) -> None:
    canary = Canary(checkpoint(cfg).parent / 'canary')
    torch.save(dict(state_dict=network().state_dict(), extra=canary), path or checkpoint(cfg))


def saved(payload):
    return lambda cfg: torch.save(payload, checkpoint(cfg))


def edit(**changes):
    return lambda cfg: cfg.merge_from_dict(changes)


def cifar(loader: str, content: bytes | None, **options):
    """``loader`` reads CIFAR-100 from a folder whose files hold ``content``, or are absent."""

    def edit(cfg):
        folder = Path(cfg.work_dir).parent / 'data'
        (folder / 'cifar-100-python').mkdir(parents=True)
        for name in ('train', 'test') if content is not None else ():
            (folder / 'cifar-100-python' / name).write_bytes(content)
        node = cfg.train_cfg.upper_dataloader if loader == 'upper' else cfg[f'{loader}_dataloader']
        node.pop('dataset')
        node.dataset = dict(
            type='mmdynakd.CIFAR100',
            data_root=str(folder),
            split='val',
            download=False,
            pipeline=[],
            **options,
        )

    return edit


TRAIN_IT = 'mmdynakd train configs/teachers/middle_digits.py'
DATA = ['CIFAR100', 'cifar-100-python', 'set data_root to the folder']
# what is wrong: how to make it so, the words of the message that say where and what to do
CASES = {
    'no teachers': (
        lambda cfg: cfg.model.update(teachers=None),
        ['at least one teacher', 'teachers=dict(name='],
    ),
    'teacher with other classes': (
        lambda cfg: (
            cfg.model.teachers.middle.update(checkpoint=None),
            cfg.model.teachers.middle.model.head.update(num_classes=7),
        ),
        [
            "teacher 'middle' has 7 classes, the student has 10",
            'set head.num_classes of teachers.middle.model',
        ],
    ),
    'checkpoint missing': (
        lambda cfg: checkpoint(cfg).unlink(),
        ["Teacher 'middle'", 'teachers/middle.pth', 'is missing', TRAIN_IT],
    ),
    'checkpoint cut short': (
        truncate,
        ["Teacher 'middle'", 'teachers/middle.pth', 'is damaged', TRAIN_IT],
    ),
    'checkpoint of another network': (
        lambda cfg: torch.save(dict(state_dict=network(14).state_dict()), checkpoint(cfg)),
        [
            "Teacher 'middle'",
            'teachers/middle.pth',
            'of another architecture',
            'backbone.layer1.1.conv1.weight',
            TRAIN_IT,
        ],
    ),
    'checkpoint with code in it': (
        booby_trap,
        [
            "Teacher 'middle'",
            'teachers/middle.pth',
            'is refused',
            'nothing of it was executed',
            TRAIN_IT,
        ],
    ),
    'θ not a number': (probs([NAN, 0.5, 0.5]), ['θ holds NaN', 'nan, 0.5, 0.5']),
    'θ negative': (probs([-0.1, 0.6, 0.5]), ['θ holds a negative probability', '-0.1']),
    'θ too short': (
        probs([0.5, 0.5]),
        ['one probability for each of the 3 teachers', '[0.5, 0.5]'],
    ),
    'θ off one': (probs([0.5, 0.5, 0.5]), ['θ sums to 1.5, not 1']),
    'θ of an unknown teacher': (
        probs(dict(strong=0.5, ghost=0.5)),
        ["['strong', 'middle', 'weak']", "['ghost']"],
    ),
    'distiller of an unknown teacher': (
        per_teacher('strong', 'middle', 'weak', 'ghost'),
        ['a distiller per teacher', "unknown: ['ghost']"],
    ),
    'distiller of one teacher missing': (
        per_teacher('strong', 'weak'),
        ['a distiller per teacher', "missing: ['middle']"],
    ),
    'student recorder': (
        source('student', 'head.ghost'),
        ['student_recorders', 'no such source', 'head.ghost'],
    ),
    'teacher recorder': (
        source('teacher', 'head.ghost'),
        ["teacher 'strong'", 'no such source', 'head.ghost'],
    ),
    'candidate no simplex': (
        hook(fixed_candidates=dict(best=[0.5, 0.5])),
        ['fixed_candidates.best', 'one probability for each of the 3 teachers'],
    ),
    'baseline no simplex': (baseline(selection=dict(probs=[NAN, 0.5, 0.5])), ['θ holds NaN']),
    'baseline of an unknown teacher': (baseline(selection=dict(probs='ghost')), ["['ghost']"]),
    'baseline with an unknown key': (baseline(ghost=1), ['lanes.bad may override', 'ghost']),
    'candidate named as a snapshot': (
        hook(fixed_candidates=dict(cat1=[0.2, 0.3, 0.5])),
        ["['cat1']"],
    ),
    'baseline named as a snapshot': (
        hook(baselines=dict(cat2=dict(selection=None))),
        ["['cat2']"],
    ),
    'candidate named like a loss': (
        hook(fixed_candidates={'my.loss': [0.2, 0.3, 0.5]}),
        ["lane name 'my.loss'"],
    ),
    'M = 0': (hook(num_candidates=0), ['num_candidates must be an integer >= 1', '0']),
    'M = -1': (hook(num_candidates=-1), ['num_candidates must be an integer >= 1', '-1']),
    'M = 1.5': (hook(num_candidates=1.5), ['num_candidates must be an integer >= 1', '1.5']),
    'begin = 1': (hook(begin=1), ['begin must be in [0, 1)']),
    'no search': (
        probs('uniform'),
        ['CandidateEvaluationHook observes a search', 'model.selection.probs is fixed'],
    ),
    'images for θ not configured': (
        lambda cfg: cfg.train_cfg.pop('upper_dataloader'),
        ['set train_cfg.upper_dataloader'],
    ),
    'no images for θ': (
        lambda cfg: cfg.train_cfg.upper_dataloader.dataset.update(indices=[]),
        ['the validation split is empty', 'check train_cfg.upper_dataloader.dataset'],
    ),
    'no images for θ, serialized': (
        lambda cfg: cfg.train_cfg.upper_dataloader.dataset.update(indices=[], serialize_data=True),
        ['train_cfg.upper_dataloader cannot be built', 'is its dataset empty?'],
    ),
    'no images for the choice': (
        lambda cfg: cfg.val_dataloader.dataset.update(indices=[]),
        ['the val split is empty', 'check val_dataloader.dataset'],
    ),
    'no images for the test': (
        lambda cfg: cfg.test_dataloader.dataset.update(indices=[]),
        ['the test split is empty', 'check test_dataloader.dataset'],
    ),
    'data missing': (cifar('train', None), [*DATA, 'is missing', 'download=True']),
    'data for θ missing': (cifar('upper', None), [*DATA, 'is missing', 'download=True']),
    'data for val missing': (cifar('val', None), [*DATA, 'is missing', 'download=True']),
    'data cut short': (
        cifar('train', pickle.dumps([1])[:-1]),
        [*DATA, 'another md5 sum', 'damaged or cut short'],
    ),
    'data cut short, unverified': (
        cifar('upper', pickle.dumps([1])[:-1], verify=False),
        [*DATA, 'is damaged'],
    ),
    # --- keys and values of the config; which was meant is said
    'model: a key': (
        edit(model=dict(selectoin=None)),
        [
            "model: mmdynakd.DynaKD takes no 'selectoin' (did you mean 'selection'?)",
            'it takes architecture',
        ],
    ),
    'selection: a key': (
        edit(model=dict(selection=dict(temprature=2))),
        ["CategoricalDistribution takes no 'temprature' (did you mean 'temperature'?)"],
    ),
    'backbone: a key': (
        lambda cfg: cfg.model.architecture.backbone.update(dept=8),
        [
            "model.architecture.backbone: mmdynakd.CifarResNet takes no 'dept' (did you mean "
            "'depth'?)"
        ],
    ),
    'backbone: a key missing': (
        lambda cfg: cfg.model.architecture.backbone.pop('depth'),
        ['model.architecture.backbone', "mmdynakd.CifarResNet needs 'depth'"],
    ),
    'hook: a key': (
        hook(num_candidate=3),
        [
            "custom_hooks.0: mmdynakd.CandidateEvaluationHook takes no 'num_candidate' "
            "(did you mean 'num_candidates'?)"
        ],
    ),
    'train_cfg: a key': (
        edit(train_cfg=dict(max_epoch=3)),
        ["train_cfg: mmdynakd.BilevelTrainLoop takes no 'max_epoch' (did you mean 'max_epochs'?)"],
    ),
    'val_cfg: a key': (
        edit(val_cfg=dict(fp61=True)),
        ["val_cfg: mmdynakd.LaneValLoop takes no 'fp61'", "mean 'fp16'"],
    ),
    'optim_wrapper: a key': (
        edit(optim_wrapper=dict(studnet=dict())),
        ["'studnet' (did you mean 'student'?)"],
    ),
    'optim_wrapper: a key of the student': (
        edit(optim_wrapper=dict(student=dict(clip_gard=dict(max_norm=1)))),
        ["no 'clip_gard' (did you mean 'clip_grad'?)"],
    ),
    'optimizer: a key': (
        lambda cfg: cfg.optim_wrapper.student.optimizer.update(momentm=0.9),
        ["SGD takes no 'momentm' (did you mean 'momentum'?)"],
    ),
    'param_scheduler: a key': (
        edit(param_scheduler=dict(studnet=[])),
        ["'studnet' (did you mean 'student'?)"],
    ),
    'randomness: a key': (
        edit(randomness=dict(sed=1)),
        ["takes no 'sed' (did you mean 'seed'?)", 'randomness'],
    ),
    'env_cfg: a key': (
        edit(env_cfg=dict(cudnn_benchmrk=True)),
        ['env_cfg', "'cudnn_benchmrk' (did you mean"],
    ),
    'loader: a key': (
        edit(val_dataloader=dict(batchsize=3)),
        ["no 'batchsize' (did you mean 'batch_size'?)"],
    ),
    'data set: a key': (
        lambda cfg: cfg.train_dataloader.dataset.update(spilt='train'),
        ['train_dataloader.dataset', "Digits takes no 'spilt' (did you mean 'split'?)"],
    ),
    'data set: a split': (
        lambda cfg: cfg.train_dataloader.dataset.update(split='vall'),
        ['split must be one of', "'vall'"],
    ),
    'lane: a key': (
        edit(model=dict(lanes=dict(a=dict(selectoin=None)))),
        ['lanes.a', "'selectoin' (did you mean 'selection'?)"],
    ),
    'lane: a teacher': (
        edit(model=dict(lanes=dict(a=dict(teachers=['strnog'])))),
        ['lanes.a.teachers', "'strnog' (did you mean 'strong'?)"],
    ),
    'lane: a name that leaves the folder': (
        edit(model=dict(lanes={'../a': dict()})),
        ["lane name '../a'"],
    ),
    'lanes: a list': (edit(model=dict(lanes=['a'])), ['model.lanes must be a dict', "['a']"]),
    'teacher: a key': (
        lambda cfg: cfg.model.teachers.middle.update(chekpoint=1),
        ['teachers.middle', "'chekpoint' (did you mean 'checkpoint'?)"],
    ),
    'teacher: no dict': (
        lambda cfg: cfg.model.teachers.update(middle='r20.pth'),
        ['teachers.middle must be dict(model='],
    ),
    'teachers: a list': (edit(model=dict(teachers=['a'])), ['model.teachers must be a dict']),
    'teacher_order: a name': (
        lambda cfg: cfg.model.update(teacher_order=['strong', 'midle', 'weak']),
        ['teacher_order must name each', "'midle'"],
    ),
    'θ: a teacher': (probs(dict(strnog=1)), ["'strnog' (did you mean 'strong'?)"]),
    'θ: text': (probs(['a', 'b', 'c']), ['θ must be 3 numbers']),
    'θ: nested': (probs([[1, 0, 0]]), ['one probability for each of the 3 teachers']),
    'θ: a number': (probs(1.0), ['θ', '1.0']),
    'fast: a word': (
        edit(model=dict(fast='bf61')),
        ["fast must be None, 'fp32', 'bf16'", "'bf61'"],
    ),
    'fast: a key': (
        edit(model=dict(fast=dict(chanels_last=True))),
        ['fast', "'chanels_last' (did you mean 'channels_last'?)"],
    ),
    'store: a key': (
        edit(model=dict(store=dict(path='x', dtyp='float16'))),
        ['store', "'dtyp' (did you mean 'dtype'?)"],
    ),
    'store: a dtype': (
        edit(model=dict(store=dict(path='x', dtype='int8'))),
        ['model.store.dtype must be one of', 'int8'],
    ),
    'upper objective': (edit(model=dict(upper_objective='first')), ['upper_objective', "'first'"]),
    'a type of ours': (
        lambda cfg: cfg.model.architecture.backbone.update(type='mmdynakd.CifarResnet'),
        [
            "model.architecture.backbone: there is no 'mmdynakd.CifarResnet'",
            "(did you mean 'mmdynakd.CifarResNet'?)",
        ],
    ),
    'a type of torch': (
        lambda cfg: cfg.optim_wrapper.student.optimizer.update(type='SDG'),
        ["there is no 'SDG' among the optimizers (did you mean 'SGD'?)"],
    ),
    'a hook': (
        lambda cfg: cfg.custom_hooks[0].update(type='mmdynakd.CandidatesEvaluationHook'),
        ['custom_hooks.0: there is no', "(did you mean 'mmdynakd.CandidateEvaluationHook'?)"],
    ),
    'hooks: a dict': (
        lambda cfg: cfg.update(custom_hooks=dict(type='x')),
        ['custom_hooks must be a list of dict(type='],
    ),
    'hooks: text': (
        lambda cfg: cfg.update(custom_hooks=['x']),
        ['custom_hooks must be a list of dict(type='],
    ),
    'a section as text': (
        lambda cfg: cfg.update(train_cfg='epochs'),
        ["train_cfg must be a dict, got 'epochs'"],
    ),
    'no model': (lambda cfg: cfg.pop('model'), ['there is no model']),
    'no optimizer': (
        lambda cfg: cfg.optim_wrapper.pop('student'),
        ['optim_wrapper takes', 'student=dict(optimizer='],
    ),
    'a slip at the top': (
        lambda cfg: cfg.update(optim_wraper=dict()),
        ["optim_wraper is never read (did you mean 'optim_wrapper'?)"],
    ),
    'no seed': (edit(randomness=dict(seed=None)), ['set randomness=dict(seed=']),
    'no epochs': (
        edit(train_cfg=dict(max_epochs=0)),
        ['train_cfg.max_epochs must be an integer >= 1, got 0'],
    ),
    'epochs as text': (
        edit(train_cfg=dict(max_epochs='ten')),
        ['train_cfg.max_epochs must be', "'ten'"],
    ),
    'a batch of no images': (
        edit(train_dataloader=dict(batch_size=0)),
        ['train_dataloader.batch_size must be'],
    ),
    'another loop for val': (
        lambda cfg: cfg.val_cfg.update(type='ValLoop'),
        ['mmdynakd.LaneValLoop'],
    ),
    # --- the evaluation, which is built after hours of search
    'evaluation: a slip': (
        hook(evaluation=dict(optim_wraper=dict())),
        ['CandidateEvaluationHook.evaluation', "'optim_wraper' (did you mean 'optim_wrapper'?)"],
    ),
    'evaluation: a key of train_cfg': (
        hook(evaluation=dict(train_cfg=dict(max_epoch=3))),
        ['evaluation', 'train_cfg', "'max_epoch' (did you mean 'max_epochs'?)"],
    ),
    'evaluation: a key of the optimizer': (
        hook(evaluation=dict(optim_wrapper=dict(studnet=dict()))),
        ['evaluation', "'studnet' (did you mean 'student'?)"],
    ),
    'evaluation: a key of the model': (
        hook(evaluation=dict(model=dict(selectoin=None))),
        ['evaluation', "'selectoin' (did you mean 'selection'?)"],
    ),
    'evaluation: a data set': (
        hook(evaluation=dict(train_dataloader=dict(dataset=dict(spilt='train')))),
        ['evaluation', "'spilt'", "'split'"],
    ),
    'evaluation: no dict': (hook(evaluation=dict(train_cfg=3)), ['evaluation', 'train_cfg']),
    'evaluation: epochs': (
        hook(evaluation=dict(train_cfg=dict(max_epochs='many'))),
        ['evaluation', "'many'"],
    ),
    # --- checkpoints
    'checkpoint is a folder': (
        lambda cfg: (checkpoint(cfg).unlink(), checkpoint(cfg).mkdir()),
        ['is a folder', TRAIN_IT],
    ),
    'checkpoint is empty': (
        lambda cfg: checkpoint(cfg).write_bytes(b''),
        ['damaged', '0 bytes', TRAIN_IT],
    ),
    'checkpoint is a page': (
        lambda cfg: checkpoint(cfg).write_text('<html>404'),
        ['not a PyTorch checkpoint', TRAIN_IT],
    ),
    'checkpoint holds a list': (saved([torch.zeros(2)]), ['holds a list, where a dict', TRAIN_IT]),
    'checkpoint holds no tensors': (saved(dict(epoch=3)), ['holds no tensors', TRAIN_IT]),
    'checkpoint holds two networks': (
        saved({'student.conv1.weight': torch.zeros(1), 'teacher.conv1.weight': torch.zeros(1)}),
        ['holds several networks', 'part=', TRAIN_IT],
    ),
    'checkpoint: a key': (
        lambda cfg: cfg.model.teachers.middle.update(checkpoint=dict(path='a', prt='student')),
        ["Teacher 'middle'", "'prt' (did you mean 'part'?)"],
    ),
    'checkpoint: another sha256': (
        lambda cfg: cfg.model.teachers.middle.update(
            checkpoint=dict(path=str(checkpoint(cfg)), sha256='0' * 64)
        ),
        ["Teacher 'middle'", 'has the sha256', '0' * 64],
    ),
    'checkpoint: over http': (
        lambda cfg: cfg.model.teachers.middle.update(checkpoint='http://example.org/a.pth'),
        ["Teacher 'middle'", 'only https:// URLs are'],
    ),
    'load_from missing': (
        lambda cfg: cfg.update(load_from='no/such.pth'),
        ['no/such.pth', 'is missing'],
    ),
    'load_from with code': (
        lambda cfg: (
            booby_trap(cfg, torn := checkpoint(cfg).with_name('evil.pth')),
            cfg.update(load_from=str(torn)),
        ),
        ['evil.pth is refused'],
    ),
}
# what is wrong with the command line or the config file: arguments and config text, and the words
COMMANDS = {
    'no such config': (['no/such.py'], None, ['there is no config file no/such.py']),
    'a folder as config': (
        ['{folder}'],
        None,
        ['there is no config file {folder}', 'it is a folder'],
    ),
    'syntax': (
        ['{config}'],
        'model = dict(\nx = 1\n',
        ['{config} (or a base of it) is not Python', 'line 1'],
    ),
    'a name': (
        ['{config}'],
        'x = 1\nmodel = no_such_name\n',
        ['{config}, line 2', "'no_such_name' is not defined"],
    ),
    'not UTF-8': (['{config}'], b'x = "\xff"\n', ['{config}', 'not UTF-8 text', 'position 5']),
    'no base': (['{config}'], "_base_ = ['no_such_base.py']\n", ['no_such_base.py']),
    'empty': (['{config}'], '', ['{config}: there is no model']),
    'a suffix': (['{config}.txt'], '', ['py/yml/yaml/json']),
    'an option: a slip': (
        ['{good}', '--cfg-options', 'optim_wraper.student.optimizer.lr=1'],
        None,
        [
            '--cfg-options: optim_wraper.student.optimizer.lr would never be read',
            "(did you mean 'optim_wrapper'?)",
        ],
    ),
    'an option: a key below': (
        ['{good}', '--cfg-options', 'train_cfg.max_epoch=3'],
        None,
        ["train_cfg: mmdynakd.BilevelTrainLoop takes no 'max_epoch' (did you mean 'max_epochs'?)"],
    ),
    'resume from nowhere': (
        ['{good}', '--resume', 'no/such.pth'],
        None,
        ['no/such.pth', 'is missing'],
    ),
    'resume from a page': (
        ['{good}', '--resume', '{config}'],
        '<html>404',
        ['{config}', '--resume alone takes'],
    ),
    'work dir is a file': (['{good}', '--work-dir', '{config}'], 'x', ['{config}', '--work-dir']),
}


EARLIER = (
    'candidates.json',
    'results.json',
    'student.pth',
    'theta.csv',
    'evaluation/results.json',
    'other.py',
    '20200101_000000/20200101_000000.log',
)


@pytest.fixture
def work(tmp_path) -> Path:
    """A work dir with what an earlier run of another config left."""
    for name in EARLIER:
        path = tmp_path / 'work' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'earlier: ' + name.encode())
    return tmp_path / 'work'


def assert_told(code: int, said: str, words: list[str]) -> None:
    """Exit code 2, one error with all the words, no traceback."""
    errors = said[said.index('error: ') :]
    assert code == 2
    assert 'Traceback' not in said
    assert errors.count('error: ') == 1
    assert [word for word in words if word not in errors] == [], errors


@pytest.mark.parametrize('case', CASES)
def test_a_mistake_in_the_config(tmp_path, work, case):
    change, words = CASES[case]
    cfg = search_config(work)
    change(cfg)
    config = write_config(cfg, tmp_path / 'config.py')
    before = content(work)
    assert_told(*call('train', str(config)), words)
    assert content(work) == before
    assert not (tmp_path / 'teachers' / 'canary').exists()


@pytest.mark.parametrize('case', COMMANDS)
def test_a_mistake_on_the_command_line(tmp_path, work, case):
    arguments, text, words = COMMANDS[case]
    places = dict(
        good=str(tmp_path / 'good.py'), config=str(tmp_path / 'config.py'), folder=str(tmp_path)
    )
    arguments = [argument.format(**places) for argument in arguments]
    write_config(search_config(work), tmp_path / 'good.py')
    if text is not None:
        path = tmp_path / ('config.py.txt' if case == 'a suffix' else 'config.py')
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = content(tmp_path)
    assert_told(*call('train', *arguments), [word.format(**places) for word in words])
    assert content(tmp_path) == before


def test_there_are_many():
    assert len(CASES) + len(COMMANDS) >= 100


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
    assert found >= {
        'candidates.json',
        'results.json',
        'student.pth',
        'epoch_1.pth',
        'theta.csv',
        'theta.png',
    }
