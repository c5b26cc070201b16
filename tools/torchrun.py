"""torchrun that also says which process ended first and how to go on.

For dist_train.sh and dist_test.sh; it says so below torchrun's own table.
"""

import math
import signal
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

PATIENCE = 20  # seconds, less than torchrun's
MISTAKE = 2  # exit code of our commands for what is found before anything is trained


def main() -> None:
    """Runs torchrun; exits with 2 for a mistake found before training, else with the reason."""
    try:
        run.main()
    except ChildFailedError as error:
        if is_mistake(error.failures):  # the processes have said it
            sys.exit(MISTAKE)
        sys.exit(f'{error}\n{explained(error.failures)}')


def is_mistake(failures: dict[int, ProcessFailure]) -> bool:
    """Whether all ended for the same reason before anything was trained."""
    ended = own_ends(failures).values()
    reasons = {f.message if isinstance(f.message, str) else f.message['message'] for f in ended}
    return len(reasons) == 1 and all(failure.exitcode == MISTAKE for failure in ended)


def own_ends(failures: dict[int, ProcessFailure]) -> dict[int, ProcessFailure]:
    """Those that ended by themselves, not by torchrun's SIGTERM after another had ended."""
    return {
        rank: failure for rank, failure in failures.items() if failure.exitcode != -signal.SIGTERM
    } or failures


def explained(failures: dict[int, ProcessFailure]) -> str:
    """Which rank ended the run: the first that was killed, else the first with its own error.

    A killed rank leaves no note of when it was killed. The errors of the others, whose connections
    to it broke, may be dated earlier. torchrun itself sends SIGKILL to processes that ignore its
    SIGTERM for half a minute.
    """
    ended = own_ends(failures)
    errors = {rank: failure for rank, failure in ended.items() if failure.exitcode > 0}
    until = min((failure.timestamp for failure in errors.values()), default=math.inf) + PATIENCE
    killed = {
        rank: failure
        for rank, failure in ended.items()
        if failure.exitcode < 0 and failure.timestamp < until
    }
    stuck = sorted(ended.keys() - errors.keys() - killed.keys())
    rank, failure = min((killed or errors).items(), key=lambda pair: pair[1].timestamp)
    if killed:
        why = f'was killed by {signal.Signals(-failure.exitcode).name}'
        why += ', perhaps for lack of memory' if failure.exitcode == -signal.SIGKILL else ''
    else:
        why = f'ended with exit code {failure.exitcode}, its error is above'
        why += f'; rank {", ".join(map(str, stuck))} hung' if stuck else ''
    return (
        f'rank {rank} (process {failure.pid}) {why}; the other processes were ended too.\n'
        'The same command goes on from the last checkpoint, also with another number of processes '
        'and batch sizes to match (docs/distribution.md).'
    )


if __name__ == '__main__':
    main()
