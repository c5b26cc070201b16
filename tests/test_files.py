"""Reading with patience: a file system that is away for a while is waited for, a mistake is told at
once.
"""

import errno
import json
import os
import re

import pytest
import torch

from mmdynakd import files
from mmdynakd.errors import CheckpointError, UnreachableError, UserError
from mmdynakd.files import patiently, read_json
from mmdynakd.safe_load import read_checkpoint


class Flaky:
    """Fails ``times`` with an errno, then gives 'content'; notes what it was asked and how long one
    waited.
    """

    def __init__(self, code: int, times: int) -> None:
        self.code, self.times, self.calls, self.waits = code, times, 0, []

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise OSError(self.code, os.strerror(self.code))
        return 'content'


@pytest.fixture
def waits(monkeypatch):
    monkeypatch.setattr(files, 'WAITS', (0.5, 1, 2, 4, 8))


@pytest.mark.parametrize(
    'code', [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.ENOTCONN, errno.EBUSY]
)
@pytest.mark.parametrize('times', [0, 1, 5])
def test_it_comes_back(tmp_path, waits, code, times):
    flaky = Flaky(code, times)
    assert patiently(flaky, tmp_path / 'a', flaky.waits.append) == 'content'
    assert flaky.calls == times + 1
    assert flaky.waits == [0.5, 1, 2, 4, 8][:times]


def test_it_does_not_come_back(tmp_path, waits):
    flaky = Flaky(errno.ESTALE, 99)
    with pytest.raises(
        UnreachableError,
        match=f'{tmp_path}/a cannot be read: Stale file handle, 6 times in 15.5 s; check '
        f'that its file system is mounted and answers .ls {tmp_path}.',
    ):
        patiently(flaky, tmp_path / 'a', flaky.waits.append)
    assert flaky.calls == 6
    assert flaky.waits == [0.5, 1, 2, 4, 8]


@pytest.mark.parametrize('code', [errno.ENOENT, errno.EACCES, errno.EISDIR, errno.ENOSPC])
def test_a_mistake_in_a_healthy_folder_fails_at_once(tmp_path, waits, code):
    flaky = Flaky(code, 99)
    with pytest.raises(OSError, match=re.escape(f'[Errno {code}]')) as caught:
        patiently(flaky, tmp_path / 'a', flaky.waits.append)
    assert caught.value.errno == code
    assert flaky.calls == 1
    assert flaky.waits == []


def test_a_folder_that_is_missing_beside_others_is_a_mistake_and_below_an_empty_one_an_absent_mount(
    tmp_path, waits
):
    (tmp_path / 'mnt').mkdir()
    flaky = Flaky(errno.ENOENT, 99)
    with pytest.raises(FileNotFoundError):
        patiently(flaky, tmp_path / 'typo' / 'a', flaky.waits.append)
    assert flaky.calls == 1
    flaky = Flaky(errno.ENOENT, 2)
    assert patiently(flaky, tmp_path / 'mnt' / 'teachers' / 'a', flaky.waits.append) == 'content'
    assert flaky.waits == [0.5, 1]


def opening(monkeypatch, code: int, times: int) -> Flaky:
    """``open`` fails so, of anything."""
    flaky, true_open = Flaky(code, times), open

    def fails(*args, **kwargs):
        flaky()
        return true_open(*args, **kwargs)

    monkeypatch.setattr('builtins.open', fails)
    return flaky


def test_checkpoints_and_json_are_read_with_patience(tmp_path, monkeypatch):
    torch.save(dict(a=torch.ones(2)), tmp_path / 'a.pth')
    (tmp_path / 'a.json').write_text('{"a": 1}')
    for read in (
        lambda: read_checkpoint(tmp_path / 'a.pth')['a'].tolist() == [1, 1],
        lambda: read_json(str(tmp_path / 'a.json')) == dict(a=1),
    ):
        with monkeypatch.context() as patch:
            flaky = opening(patch, errno.EIO, 3)
            assert read()
            assert flaky.calls >= 4
        with monkeypatch.context() as patch:
            opening(patch, errno.EIO, 99)
            with pytest.raises(UnreachableError, match='Input/output error, 6 times'):
                read()


class Breaking:
    """A file whose reading breaks off with EIO the first time."""

    def __init__(self, file, state: list) -> None:
        self.file, self.state = file, state

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.file.close()

    def read(self, *args):
        if not self.state:
            self.state.append('broken')
            raise OSError(errno.EIO, 'Input/output error')
        return self.file.read(*args)


def test_an_error_in_the_midst_of_reading_passes_too(tmp_path, monkeypatch):
    torch.save(dict(a=torch.ones(2)), tmp_path / 'a.pth')
    state, true_open = [], open
    monkeypatch.setattr(
        'builtins.open', lambda *args, **kwargs: Breaking(true_open(*args, **kwargs), state)
    )
    assert read_checkpoint(tmp_path / 'a.pth')['a'].tolist() == [1, 1]
    assert state == ['broken']


def test_a_teacher_on_an_absent_file_system_is_named(tmp_path, monkeypatch):
    from runs import network

    from mmdynakd.models.teachers.loading import load_checkpoint_into

    torch.save(network().state_dict(), tmp_path / 'a.pth')
    model = network()
    opening(monkeypatch, errno.ESTALE, 99)
    with pytest.raises(
        CheckpointError, match=r"Teacher 'far': .*a.pth cannot be read: Stale file handle, 6 times"
    ):
        load_checkpoint_into(model, tmp_path / 'a.pth', name='far')


def test_writing_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match='JSON'):
        files.write_json(str(tmp_path), 'a.json', dict(a=float('nan')))
    assert list(tmp_path.iterdir()) == []
    assert json.loads(
        (tmp_path / files.write_json(str(tmp_path), 'a.json', dict(a=1))).read_text()
    ) == dict(a=1)
    assert isinstance(UnreachableError('x'), UserError)
