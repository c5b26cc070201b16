"""Files are written whole by one owner; reading waits for a file system that is away."""

import errno
import json
import os
import re
import time
from pathlib import Path

import pytest
import torch

import mmdynakd
from mmdynakd import files
from mmdynakd.errors import CheckpointError, UnreachableError, UserError
from mmdynakd.files import patiently, read_json, remove_temporaries, whole, write_bytes
from mmdynakd.safe_load import read_checkpoint


class Flaky:
    """Fails ``times`` with an errno, then gives 'content'; counts calls and notes the waits."""

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
    with pytest.raises(OSError, match=re.escape(os.strerror(code))) as caught:
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

    from mmdynakd.models.teachers.checkpoints.loading import load_checkpoint_into

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


# --- written whole --------------------------------------------------------------------------------


def write(path, content: str) -> None:
    with open(path, 'w') as file:
        file.write(content)


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / 'a'
    path.write_text('old')
    with whole(path) as temporary:
        write(temporary, 'half')
        assert os.path.dirname(temporary) == str(tmp_path)
        assert path.read_text() == 'old'
        write(temporary, 'new')
    assert path.read_text() == 'new'
    assert os.listdir(tmp_path) == ['a']


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize('begun', [True, False])
def test_an_error_leaves_what_was_there(tmp_path, error, begun):
    path = tmp_path / 'a'
    path.write_text('old')

    def fail() -> None:
        with whole(path) as temporary:
            if begun:
                write(temporary, 'half')
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['a']


@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, step):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_bytes(str(tmp_path), 'a', b'old')
    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match=r'No space left on device.*/a') as caught:
        write_bytes(str(tmp_path), 'a', b'new')
    assert caught.value.filename == str(tmp_path / 'a')
    assert (tmp_path / 'a').read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['a']


def test_it_reaches_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(
        os, 'fsync', lambda file: done.append(os.fstat(file).st_size) or fsync(file)
    )
    monkeypatch.setattr(os, 'replace', lambda *names: done.append('renamed') or replace(*names))
    write_bytes(str(tmp_path), 'a', b'12345')
    assert done == [5, 'renamed']


@pytest.mark.parametrize('there', [True, False])
def test_the_first_one_wins_where_asked(tmp_path, there):
    path = tmp_path / 'a'
    with whole(path, overwrite=False) as temporary:
        write(temporary, 'second')
        if there:
            path.write_text('first')
    assert path.read_text() == ('first' if there else 'second')
    assert os.listdir(tmp_path) == ['a']


def test_what_a_kill_leaves_is_removed_and_nothing_else(tmp_path):
    path = tmp_path / 'student.pth'
    if os.fork() == 0:
        with whole(path) as temporary:
            write(temporary, 'half')
            os._exit(0)
    os.wait()
    (left,) = os.listdir(tmp_path)
    kept = ['mine.tmp', 'a.tmpl', 'tmp12', 'epoch_1.pth']
    for name in (*kept, 'run.json.1234.tmp'):  # the last as versions up to 0.1.0 wrote it
        (tmp_path / name).write_text('')
    (tmp_path / 'folder.tmp12').mkdir()
    remove_temporaries(tmp_path, older_than=60)
    assert left in os.listdir(tmp_path)
    old = time.time() - 100
    os.utime(tmp_path / left, (old, old))
    remove_temporaries(tmp_path, older_than=60)
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, 'run.json.1234.tmp', 'folder.tmp12'])
    remove_temporaries(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, 'folder.tmp12'])


def test_a_checkpoint_is_the_same_bytes_whichever_process_writes_it(tmp_path, monkeypatch):
    """torch.save names the archive inside the file after the file that it writes to."""
    written = []
    for process in (1, 23456):
        monkeypatch.setattr(os, 'getpid', lambda process=process: process)
        with whole(tmp_path / 'a.pth') as temporary:
            torch.save(dict(a=torch.ones(2)), temporary)
        written.append((tmp_path / 'a.pth').read_bytes())
    assert written[0] == written[1]


OWNED = re.compile(r"""os\.(replace|link)\b|shutil\.move|\.tmp\b|os\.rename\b|\.rename\(""")
ALLOWED = {('workdir/runs.py', 'os.rename(folder, aside)')}  # a whole work dir, moved aside


def test_only_files_py_renames_what_was_written_under_another_name():
    root = Path(mmdynakd.__file__).parent
    found = {
        (str(path.relative_to(root)), line.strip())
        for path in root.rglob('*.py')
        if path != root / 'files.py'
        for line in path.read_text(encoding='utf-8').splitlines()
        if OWNED.search(line)
    }
    assert found <= ALLOWED
    assert OWNED.search((root / 'files.py').read_text(encoding='utf-8'))
