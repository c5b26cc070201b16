"""What a person sees when a tool fails: one message that says what to do, or a traceback where it
is a bug.
"""

import errno
import os
import sys
import traceback
from collections.abc import Callable

from mmdynakd.errors import UserError

from .explain import explain

BEFORE, LATER = (
    2,
    1,
)  # exit codes: a mistake found before anything was trained, as argparse's; a failure after that
BEGUN = 'training_had_begun'
LIMIT = 1500  # characters of a message
REMEDIES = {
    errno.ENOSPC: 'the disk is full: free some space, then run the same command again',
    errno.EDQUOT: 'the quota is used up: free some space, then run the same command again',
    errno.EROFS: 'the file system is read-only: give another --work-dir',
    errno.EACCES: 'no permission: give another --work-dir, or mend the permissions',
}


def run_tool(main: Callable[[], int | None]) -> None:
    """Runs a tool's ``main``, which may return an exit code.

    It is 2 for a mistake that is found before anything was trained, 1 for a later failure.

    Whatever fails before the first training step is one message on stderr, ``error: …``. So is,
    later, what has a name: a :class:`UserError` or another exception of this package, a run that
    diverged, a file that cannot be written, memory that runs out. Anything else keeps its
    traceback. ``--debug`` on the command line shows it always. Of several ranks the first says all,
    the others one line.
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
    """Whether the message of an exception says all that a user needs."""
    ours = type(error).__module__.partition('.')[0] == 'mmdynakd'
    return (
        ours
        or isinstance(error, (FloatingPointError, OSError, MemoryError))
        or type(error).__name__ == 'OutOfMemoryError'
    )


def message(error: Exception, debug: bool = False) -> str:
    """``error: …``, of another rank than the first its first line alone."""
    text = explain(error)
    remedy = (
        REMEDIES.get(error.errno)
        if isinstance(error, OSError) and not isinstance(error, UserError)
        else None
    )
    text += f'; {remedy}' if remedy else ''
    if rank():
        return f'error on rank {rank()}: {text.splitlines()[0][:LIMIT]}'
    text = text if len(text) <= LIMIT else f'{text[:LIMIT]} …'
    hint = '' if debug or isinstance(error, UserError) else '\n(--debug shows where)'
    return f'error: {text}{hint}'


def rank() -> int:
    """This process's among those of a launcher; 0 without one."""
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        if os.environ.get(name, '').isdigit():
            return int(os.environ[name])
    return 0
