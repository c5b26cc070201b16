"""What an executor is: it runs commands somewhere, and knows nothing of what they do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mmdynakd.errors import UserError


@dataclass(frozen=True)
class Job:
    """A command, apart from all others.

    Attributes:
        name: unique among the jobs of an executor.
        argv: the command, no shell sees it.
        cwd: absolute path of the folder it runs in.
        log: absolute path of the file to which its output is appended.
        env: variables that it has besides those of the place where it runs.
    """

    name: str
    argv: list[str]
    cwd: str
    log: str
    env: dict[str, str] = field(default_factory=dict)


class Executor(Protocol):
    """Where jobs run.

    Attributes:
        tied: whether a job must end with the process that started it: jobs are given ``--tied``.
        grace: seconds that a file written on another machine may take until it is seen here.
        interval: seconds between two polls.
        notes: what there is to say about a job, by name.
    """

    tied: bool
    grace: float
    interval: float
    notes: dict[str, str]

    def start(self, jobs: Sequence[Job]) -> None:
        """Takes the jobs; returns at once.

        Raises:
            ExecutorError: if it cannot run them.
        """

    def poll(self) -> dict[str, str | None]:
        """The jobs that have ended since the last call, with what went wrong, or None if nothing is
        known to have.
        """

    def stop(self) -> str | None:
        """The caller ends before the jobs do; returns what to tell the user of them."""


class ExecutorError(UserError):
    """An executor is not there or refuses the jobs; the message says what to do."""


def ended(code: int) -> str | None:
    """What an exit status says."""
    if code == 0:
        return None
    return f'killed by signal {-code}' if code < 0 else f'exit status {code}'
