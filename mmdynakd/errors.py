"""A user's mistakes; below every room."""

import types
from collections.abc import Iterator


class UserError(ValueError):
    """Its message tells the mistake whole: where it is (file, key), what to do. Tools show it
    without traceback.
    """


class CheckpointError(UserError):
    """A checkpoint cannot be used; the message names whose it is, the file and the remedy."""


class UnreachableError(UserError, OSError):
    """A file system does not answer, however often it was asked."""


def frames_of(error: BaseException) -> Iterator[tuple[types.FrameType, int]]:
    """Frames and line numbers, the outermost first."""
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next
