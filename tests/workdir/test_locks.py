"""The lock of a folder: who holds it, through forks and kills, and where there are no locks."""

import errno
import os
import signal
import subprocess
import sys
from unittest import mock

import pytest

from mmdynakd.workdir import locks

HOLDER = """
import os, sys, time
from mmdynakd.workdir.locks import lock
assert lock(sys.argv[1])
if os.fork() == 0:  # as a worker of a data loader, that outlives its killed parent
    time.sleep(60)
print('ready', flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def unlocked():
    yield
    locks.unlock_all()


@pytest.fixture
def holder(tmp_path):
    other = subprocess.Popen(
        [sys.executable, '-c', HOLDER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert any('ready' in line for line in other.stdout)  # onedl's packages greet first
    yield other
    os.killpg(other.pid, signal.SIGKILL)
    other.wait()


def asked_in_a_child(folder) -> bool:
    """Whether a forked child gets the lock."""
    child = os.fork()
    if child == 0:
        os._exit(int(locks.lock(str(folder))))
    return bool(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def test_a_killed_holder_lets_go_though_its_child_lives(tmp_path, holder):
    assert not locks.lock(str(tmp_path))
    assert not locks.is_locked(str(tmp_path))
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert locks.lock(str(tmp_path))


def test_takes_by_one_process_are_one(tmp_path):
    (tmp_path / 'work').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'work')
    assert locks.lock(str(tmp_path / 'work'))
    assert locks.lock(str(tmp_path / 'link'))
    assert not asked_in_a_child(tmp_path / 'work')
    locks.unlock(str(tmp_path / 'work'))
    assert not locks.is_locked(str(tmp_path / 'link'))
    assert asked_in_a_child(tmp_path / 'work')


def test_the_end_of_a_forked_child_leaves_the_lock(tmp_path):
    assert locks.lock(str(tmp_path))
    if (child := os.fork()) == 0:
        held = locks.is_locked(str(tmp_path))
        locks.unlock_all()
        os._exit(int(held))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert locks.is_locked(str(tmp_path))
    assert not asked_in_a_child(tmp_path)


@pytest.mark.parametrize('number', [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_warns(tmp_path, number):
    error = OSError(number, os.strerror(number))
    with (
        mock.patch('fcntl.flock', side_effect=error),
        mock.patch.object(locks, 'print_log') as said,
    ):
        assert locks.lock(str(tmp_path))
    assert 'cannot be locked' in said.call_args.args[0]
    assert locks.is_locked(str(tmp_path))
    locks.unlock(str(tmp_path))
    assert not locks.is_locked(str(tmp_path))


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / locks.LOCK).mkdir()
    with pytest.raises(IsADirectoryError):
        locks.lock(str(tmp_path))
    assert not locks.is_locked(str(tmp_path))
