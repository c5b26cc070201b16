"""Whether a run that is killed again and again ends as one that is left alone."""

import os
import os.path as osp
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from mmengine.config import Config

from mmdynakd.datasets.fingerprint import fingerprint
from mmdynakd.safe_load import read_checkpoint
from mmdynakd.workdir.checkpoints import saved_checkpoints

FILES = ('candidates.json', 'theta.csv', 'results.json')
SHARE = 0.5  # of the whole run's time, the longest that a run is left before it is killed
OF_ONE_RUN = {'meta', 'message_hub'}  # dates, speeds and paths


def compare(
    train: Callable[[str], None],
    folder: str,
    kills: int,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> dict[str, bool]:
    """Trains twice from one config, once with ``kills`` kills at random moments; ``{what: whether
    it is equal}``.

    Each run is a process of its own, forked from this one, which must not have touched a GPU. What
    they say goes to ``whole.log`` and ``killed.log`` in ``folder``.

    Args:
        train: trains into a work dir; called again after each kill.
        folder: for the two work dirs, ``whole`` and ``killed``.
        kills: SIGKILLs that are sent before the run may end; fewer where it ends before.
        seed: of the moments.
        say: told what happens.

    Raises:
        RuntimeError: if a run fails by itself; the message names its log.
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
    """Trains into ``work_dir``, killed up to ``kills`` times after at most ``longest`` seconds; how
    often it was.
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
    """``{what: whether two work dirs are equal in it}``."""
    one, two = dict(outcome(first)), dict(outcome(second))
    return {name: one.get(name) == two.get(name) for name in sorted({*one, *two})}


def attempt(train: Callable[[str], None], work_dir: str, patience: float | None = None) -> bool:
    """Trains in a process of its own, killed after ``patience`` seconds; whether it came to its
    end.
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
    """``(name, fingerprint)`` of all that a run ends with: its files, and each part of its stages'
    last checkpoints.
    """
    for name in FILES:
        path = osp.join(work_dir, name)
        if osp.exists(path):
            with open(path, 'rb') as file:
                yield name, fingerprint(file.read())
    student = osp.join(work_dir, 'student.pth')
    if osp.exists(student):
        yield 'student.pth', fingerprint(read_checkpoint(Path(student))['state_dict'])
    for stage in ('', 'evaluation'):
        newest = saved_checkpoints(Config(dict(work_dir=osp.join(work_dir, stage))))
        if newest:
            for part, value in read_checkpoint(Path(newest[0])).items():
                if part not in OF_ONE_RUN:
                    yield osp.join(stage, osp.basename(newest[0]), part), fingerprint(value)
