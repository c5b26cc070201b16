"""The interface of an executor: it runs commands somewhere, whatever they do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mmdynakd.errors import UserError


@dataclass(frozen=True)
class Job:
    """One command, independent of all others.

    Attributes:
        name: unique among the jobs of an executor.
        argv: the command; no shell sees it.
        cwd: absolute path of the folder it runs in.
        log: absolute path of the file to which its output is appended.
        env: variables to set, besides those of the place where it runs.

    Examples:
        >>> Job('hello', ['/bin/echo', 'hello'], cwd='/tmp', log='/tmp/hello.log').env
        {}
    """

    name: str
    argv: list[str]
    cwd: str
    log: str
    env: dict[str, str] = field(default_factory=dict)


class Executor(Protocol):
    """Where jobs run.

    Attributes:
        tied: whether jobs end with the process that started them; they are given ``--tied``.
        grace: seconds until a file written on another machine is seen here, at most.
        interval: seconds between two polls.
        notes: what to show about a job, by name.

    Examples:
        >>> from mmdynakd.evaluation.executors.local import LocalExecutor
        >>> executor: Executor = LocalExecutor(jobs=2)
        >>> executor.start([])
        >>> executor.poll()
        {}
    """

    tied: bool
    grace: float
    interval: float
    notes: dict[str, str]

    def start(self, jobs: Sequence[Job]) -> None:
        """Take the jobs; return at once.

        Raises:
            ExecutorError: if it cannot run them.
        """

    def poll(self) -> dict[str, str | None]:
        """List the jobs that have ended since the last call.

        Returns:
            What went wrong, by name of the job; None where nothing is known to have.
        """

    def stop(self) -> str | None:
        """Let go of all jobs, since the caller ends; return what to tell the user about them."""


class ExecutorError(UserError):
    """An executor is missing or refuses the jobs; the message says what to do."""


def ended(code: int) -> str | None:
    """Put an exit status into words; None for success.

    Examples:
        >>> ended(0), ended(3), ended(-9)
        (None, 'exit status 3', 'killed by signal 9')
    """
    if code == 0:
        return None
    return f'killed by signal {-code}' if code < 0 else f'exit status {code}'
