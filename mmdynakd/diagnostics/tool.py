"""What a person sees when a command fails: one message with the remedy; a traceback for a bug."""

import errno
import os
import sys
import traceback
from collections.abc import Callable

import torch

from mmdynakd.errors import UserError

from .explain import explain

BEFORE, LATER = 2, 1  # exit codes: before anything was trained (as argparse's), and after that
BEGUN = 'training_had_begun'
NAMED = (FloatingPointError, OSError, MemoryError, torch.cuda.OutOfMemoryError)
LIMIT = 1500  # characters of a message
REMEDIES = {
    errno.ENOSPC: 'the disk is full: free some space, then run the same command again',
    errno.EDQUOT: 'the quota is used up: free some space, then run the same command again',
    errno.EROFS: 'the file system is read-only: give another --work-dir',
    errno.EACCES: 'no permission: give another --work-dir, or change the permissions',
}


def run_tool(main: Callable[[], int | None]) -> None:
    """Run a command's ``main``, which may return an exit code, and exit with it unless it is 0.

    The code is 2 for a mistake found before anything was trained, and 1 for a later failure.

    Whatever fails before the first training step is one message on stderr, ``error: …``. So is,
    later, what :func:`has_a_name`. Anything else keeps its traceback; ``--debug`` on the command
    line always shows it. The first of several ranks says everything, the others one line each.

    Examples:
        >>> def main():
        ...     return 3
        >>> run_tool(main)
        Traceback (most recent call last):
        SystemExit: 3
    """
    try:
        code = main()
    except Exception as error:
        begun, debug = getattr(error, BEGUN, False), '--debug' in sys.argv
        if begun and not has_a_name(error):
            raise
        if debug:
            traceback.print_exc()
        print(message(error, debug), file=sys.stderr, flush=True)
        code = LATER if begun else BEFORE
    if code:
        sys.exit(code)


def has_a_name(error: Exception) -> bool:
    """Whether the message of an exception says all that a user needs.

    Those are the exceptions of this package, a run that diverged, a file that cannot be written,
    and memory that runs out.

    Examples:
        >>> has_a_name(UserError('there is no config file a.py')), has_a_name(RuntimeError())
        (True, False)
    """
    ours = type(error).__module__.partition('.')[0] == 'mmdynakd'
    return ours or isinstance(error, NAMED)


def message(error: Exception, debug: bool = False) -> str:
    """``error: …`` with its remedy; on ranks other than the first, only the first line.

    Args:
        error: as it was caught.
        debug: whether its traceback has been shown.

    Examples:
        >>> message(UserError('there is no config file a.py'))
        'error: there is no config file a.py'
    """
    text = explain(error)
    if isinstance(error, OSError) and not isinstance(error, UserError):
        remedy = REMEDIES.get(error.errno or 0)
        text += f'; {remedy}' if remedy else ''
    if rank():
        return f'error on rank {rank()}: {text.splitlines()[0][:LIMIT]}'
    text = text if len(text) <= LIMIT else f'{text[:LIMIT]} …'
    hint = '' if debug or isinstance(error, UserError) else '\n(--debug shows where)'
    return f'error: {text}{hint}'


def rank() -> int:
    """This process's rank among those of a launcher; 0 without one.

    Examples:
        >>> rank()
        0
    """
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        if os.environ.get(name, '').isdigit():
            return int(os.environ[name])
    return 0
