"""Whether a run that is killed again and again ends as an undisturbed one does."""

import os
import os.path as osp
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmdynakd.datasets.fingerprint import fingerprint
from mmdynakd.safe_load import read_checkpoint
from mmdynakd.workdir.checkpoints import saved_checkpoints

FILES = ('candidates.json', 'theta.csv', 'results.json')
SHARE = 0.5  # of an undisturbed run's time: the latest moment of a kill
OF_ONE_RUN = {'meta', 'message_hub'}  # dates, speeds and paths


def compare(
    train: Callable[[str], None],
    folder: str,
    kills: int,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> dict[str, bool]:
    """Train twice from one config, once with kills at random moments, and compare the ends.

    Each run is a process of its own, forked from this one, which must not have touched a GPU. Their
    output goes to ``whole.log`` and ``killed.log`` in ``folder``.

    Args:
        train: trains into a work dir; called again after each kill.
        folder: for the two work dirs, ``whole`` and ``killed``.
        kills: number of SIGKILLs to send; fewer are sent where the run ends before.
        seed: of the moments.
        say: told what happens.

    Returns:
        ``{what: whether it is equal}``, see :func:`outcome`.

    Raises:
        RuntimeError: a run fails by itself; the message names its log.

    Examples:
        >>> import tempfile
        >>> def train(work):
        ...     os.makedirs(work, exist_ok=True)
        ...     _ = Path(work, 'results.json').write_text('{}')
        >>> compare(train, tempfile.mkdtemp(), kills=0, say=lambda text: None)
        {'results.json': True}
    """
    whole, killed = osp.join(folder, 'whole'), osp.join(folder, 'killed')
    os.makedirs(folder, exist_ok=True)
    start = time.monotonic()
    attempt(train, whole)
    took = time.monotonic() - start
    say(f'uninterrupted: {took:.1f} s')
    interrupt(train, killed, kills, SHARE * took, seed, say)
    return differences(whole, killed)


def interrupt(
    train: Callable[[str], None],
    work_dir: str,
    kills: int,
    longest: float,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> int:
    """Train into a work dir, killed at random moments, until the run comes to its end.

    Args:
        train: trains into a work dir.
        work_dir: the same for each attempt.
        kills: number of kills at most.
        longest: seconds after which an attempt is killed, at most.
        seed: of the moments.
        say: told what happens.

    Returns:
        How often it was killed.

    Raises:
        RuntimeError: the run fails by itself.

    Examples:
        >>> import tempfile
        >>> interrupt(lambda work: None, tempfile.mkdtemp(), kills=0, longest=0)
        0 kills, then its end
        0
    """
    chance, sent = random.Random(seed), 0
    while sent < kills:
        patience = chance.uniform(0, longest)
        if attempt(train, work_dir, patience):
            break
        sent += 1
        say(f'kill {sent}: after {patience:.1f} s')
    else:
        attempt(train, work_dir)
    say(f'{sent} kills, then its end')
    return sent


def differences(first: str, second: str) -> dict[str, bool]:
    """Compare what two work dirs ended with: ``{what: whether it is equal}``.

    Examples:
        >>> differences('no/such/folder', 'nor/this')
        {}
    """
    one, two = dict(outcome(first)), dict(outcome(second))
    return {name: one.get(name) == two.get(name) for name in sorted({*one, *two})}


def attempt(train: Callable[[str], None], work_dir: str, patience: float | None = None) -> bool:
    """Train in a process of its own, killed after some seconds.

    Args:
        train: trains into a work dir.
        work_dir: of the run; its log lies beside it.
        patience: seconds; None waits for the end.

    Returns:
        Whether the run came to its end.

    Raises:
        RuntimeError: the run failed by itself.

    Examples:
        >>> import tempfile
        >>> attempt(lambda work: None, tempfile.mkdtemp())
        True
        >>> attempt(lambda work: time.sleep(60), tempfile.mkdtemp(), patience=0.01)
        False
    """
    child = os.fork()
    if child == 0:
        _in_child(train, work_dir)
    deadline = None if patience is None else time.monotonic() + patience
    while deadline is None or time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG if deadline else 0)
        if ended:
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
                return False
            if os.waitstatus_to_exitcode(status):
                raise RuntimeError(f'the run in {work_dir} failed: see {_log(work_dir)}')
            return True
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0


def _in_child(train: Callable[[str], None], work_dir: str) -> None:
    code = 1
    try:
        log = os.open(_log(work_dir), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout, sys.stderr = open(1, 'w', closefd=False), open(2, 'w', closefd=False)  # noqa: SIM115
        train(work_dir)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _log(work_dir: str) -> str:
    return osp.normpath(work_dir) + '.log'


def outcome(work_dir: str) -> Iterator[tuple[str, str]]:
    """``(name, fingerprint)`` of everything that a run ends with.

    That is its files, the weights of its exported student, and each part of the last checkpoints of
    its stages.

    Examples:
        >>> list(outcome('no/such/folder'))
        []
    """
    for name in FILES:
        path = osp.join(work_dir, name)
        if osp.exists(path):
            with open(path, 'rb') as file:
                yield name, fingerprint(file.read())
    student = osp.join(work_dir, 'student.pth')
    if osp.exists(student):
        yield 'student.pth', fingerprint(_parts(student)['state_dict'])
    for stage in ('', 'evaluation'):
        newest = saved_checkpoints(Config(dict(work_dir=osp.join(work_dir, stage))))
        if newest:
            for part, value in _parts(newest[0]).items():
                if part not in OF_ONE_RUN:
                    yield osp.join(stage, osp.basename(newest[0]), part), fingerprint(value)


def _parts(checkpoint: str) -> Mapping[str, Any]:
    found: Any = read_checkpoint(Path(checkpoint))
    return dict(found)
