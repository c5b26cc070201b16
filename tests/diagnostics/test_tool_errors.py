"""What a person sees when a tool fails, through the true command line where it matters."""

import pytest
import torch
from mmengine.config import Config
from runs import CHECKOUT, search_config

from mmdynakd.diagnostics.explain import accepted, explain
from mmdynakd.diagnostics.keys import runner_keys
from mmdynakd.diagnostics.tool import BEGUN, has_a_name, message, run_tool
from mmdynakd.errors import CheckpointError, UnreachableError, UserError
from mmdynakd.names import nearest
from tools import call, content, start, write_config


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A config that works, one whose teacher is gone, one with a slip."""
    place = tmp_path_factory.mktemp('tools')
    cfg = search_config(place / 'work')
    write_config(cfg, place / 'good.py')
    cfg.model.teachers.middle.checkpoint = 'no/such.pth'
    write_config(cfg, place / 'gone.py')
    return place


COMMANDS = {
    'train': (
        ['train', '{}/gone.py'],
        ["Teacher 'middle'", 'no/such.pth', 'is missing', 'mmdynakd train configs/'],
    ),
    'train, a slip': (
        ['train', '{}/good.py', '--cfg-options', 'optim_wrapper.studnet.x=1'],
        ["did you mean 'student'?"],
    ),
    'train, no config': (['train', 'no.py'], ['there is no config file no.py']),
    'test': (
        ['test', '{}/good.py', 'no/such.pth', '--work-dir', '{}/test'],
        ['no/such.pth is missing'],
    ),
    'check_teachers': (['check_teachers', '{}/gone.py'], ["Teacher 'middle'", 'is missing']),
    'check_teachers, none': (
        ['check_teachers', 'configs/teachers/resnet8_digits.py'],
        ['no model.teachers'],
    ),
    'benchmark': (['benchmark', '{}/good.py'], ['benchmark must be a dict with seeds=[…]']),
}


@pytest.mark.parametrize('case', COMMANDS)
def test_every_tool(folder, case, monkeypatch):
    monkeypatch.chdir(CHECKOUT)
    arguments, words = COMMANDS[case]
    for name in ('good.py', 'gone.py'):  # MMEngine shares logs between runs of one name and second
        config = Config.fromfile(folder / name)
        write_config(config, folder / name)
    before = content(folder)
    code, said = call(*(argument.format(folder) for argument in arguments))
    assert code == 2, said
    assert 'Traceback' not in said
    assert 'error: ' in said
    assert [word for word in words if word not in said] == [], said
    assert content(folder) == before


@pytest.mark.slow
def test_the_true_command_line(folder):
    """In a process of its own, with the exit code that a shell sees."""
    before = content(folder)
    for case in ('train', 'check_teachers, none'):
        arguments, words = COMMANDS[case]
        code, said = start(*(argument.format(folder) for argument in arguments))
        assert code == 2, said
        assert 'Traceback' not in said
        assert [word for word in words if word not in said[said.index('error: ') :]] == [], said
    assert content(folder) == before


def test_debug_shows_where(folder):
    config = Config.fromfile(folder / 'gone.py')
    code, said = call('train', str(write_config(config, folder / 'gone.py')), '--debug')
    assert code == 2
    assert 'Traceback (most recent call last)' in said
    assert 'resolve_checkpoint' in said
    assert said.rstrip().splitlines()[-1].startswith('error: Teacher')
    assert '--debug' not in said.split('error: ')[-1]


def test_a_bug_in_training_keeps_its_traceback(folder, monkeypatch):
    from mmdynakd.models import DynaKD

    steps = iter([False, True])
    original = DynaKD.loss

    def fails_in_the_second_step(self, *args):
        if next(steps):
            raise AssertionError('a bug')
        return original(self, *args)

    monkeypatch.setattr(DynaKD, 'loss', fails_in_the_second_step)
    work = folder / 'bug'
    with pytest.raises(AssertionError, match='a bug') as caught:
        call('train', str(folder / 'good.py'), '--work-dir', str(work))
    assert getattr(caught.value, BEGUN) is True
    assert (work / 'run.json').exists()
    assert list(work.glob('2*_*'))


def test_an_evaluation_that_fails_after_a_finished_search_has_begun(folder, monkeypatch):
    from mmdynakd.models import DynaKD

    original = DynaKD.loss

    def fails_in_the_evaluation(self, *args):
        if 'cat1' in self.lanes:
            raise AssertionError('a bug')
        return original(self, *args)

    monkeypatch.setattr(DynaKD, 'loss', fails_in_the_evaluation)
    work, logs = folder / 'later', 0
    for _ in range(2):  # the second time the search has nothing left to do
        config = Config.fromfile(folder / 'good.py')
        with pytest.raises(AssertionError, match='a bug') as caught:
            call('train', str(write_config(config, folder / 'later.py')), '--work-dir', str(work))
        assert getattr(caught.value, BEGUN) is True
        assert (work / 'candidates.json').exists()
        assert len(list(work.glob('2*_*'))) > logs
        logs = 1


@pytest.mark.parametrize(
    'error',
    [
        FloatingPointError('lane search diverged'),
        UserError('x'),
        MemoryError('x'),
        OSError(28, 'No space left on device', 'a.pth'),
        CheckpointError('x'),
    ],
)
def test_a_failure_with_a_name_is_one_message_in_training_too(error, capsys):
    setattr(error, BEGUN, True)

    def main():
        raise error

    with pytest.raises(SystemExit) as ended:
        run_tool(main)
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert said.startswith('error: ')
    assert 'Traceback' not in said
    assert has_a_name(error)
    assert not has_a_name(RuntimeError('x'))
    assert ('the disk is full' in said) == isinstance(error, OSError)


def test_only_the_first_rank_says_all(monkeypatch):
    error = UserError('first line\nsecond line')
    assert message(error) == 'error: first line\nsecond line'
    monkeypatch.setenv('RANK', '3')
    assert message(error) == 'error on rank 3: first line'


def test_long_messages_are_cut():
    said = message(ValueError('x' * 10_000))
    assert len(said) < 2000
    assert '(--debug shows where)' in said


@pytest.mark.parametrize(
    ('error', 'text'),
    [
        (KeyError('model'), "the key 'model' is missing"),
        (ValueError('why'), 'why'),
        (RuntimeError(''), 'RuntimeError'),
        (AttributeError('no x'), 'AttributeError: no x'),
        (UnreachableError('a cannot be read'), 'a cannot be read'),
        (
            RuntimeError(
                'Caught X in DataLoader worker process 0.\nOriginal Traceback (most recent call '
                'last):\nX: why'
            ),
            'X: why',
        ),
        (KeyError('a message with blanks'), 'a message with blanks'),
        (AssertionError(), 'AssertionError'),
    ],
)
def test_words_of_an_exception(error, text):
    assert explain(error) == text


def test_accepted_arguments_follow_kwargs_to_the_bases():
    class Base:
        def __init__(self, a, *, b=1): ...

    class Middle(Base):
        def __init__(self, c, **kwargs): ...

    assert accepted(Middle) == ['c', 'a', 'b']
    assert accepted(Base) == ['a', 'b']
    assert accepted(lambda x, y=1: 0) == ['x', 'y']


@pytest.mark.parametrize(
    'path',
    sorted((CHECKOUT / 'configs').glob('*/*.py')) + sorted((CHECKOUT / 'configs').glob('*.py')),
    ids=lambda path: path.name,
)
def test_no_shipped_config_is_taken_for_a_slip(path):
    from mmdynakd.diagnostics.keys import check_config

    if path.parent.name != '_base_':
        check_config(Config.fromfile(path))


def test_the_runner_s_keys():
    assert {'model', 'optim_wrapper', 'custom_hooks', 'work_dir', 'resume'} <= runner_keys()
    assert nearest('optim_wraper', runner_keys()) == 'optim_wrapper'
    assert nearest('zzz', runner_keys()) is None


def test_a_checkpoint_without_meta_is_no_run(folder):
    torch.save(dict(state_dict={}), folder / 'weights.pth')
    before = content(folder)
    code, said = call(
        'train',
        str(folder / 'good.py'),
        '--resume',
        str(folder / 'weights.pth'),
        '--work-dir',
        str(folder / 'resumed'),
    )
    assert code == 2
    assert "the key 'meta' is missing" in said
    assert content(folder) == before
