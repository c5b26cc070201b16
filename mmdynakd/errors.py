"""A user's mistakes, as exceptions. Every room may raise them, so this file is below them all."""

import types
from collections.abc import Iterator


class UserError(ValueError):
    """A mistake of the user, which the message tells in full: where it is, and what to do.

    The commands show it without a traceback.

    Examples:
        >>> raise UserError('train_cfg.max_epochs is -1 in my_config.py: set it to 1 or more')
        Traceback (most recent call last):
        mmdynakd.errors.UserError: train_cfg.max_epochs is -1 in my_config.py: set it to 1 or more
    """


class CheckpointError(UserError):
    """A checkpoint cannot be used; the message names whose it is, the file and the remedy."""


class UnreachableError(UserError, OSError):
    """A file system does not answer, however often it was asked."""


def frames_of(error: BaseException) -> Iterator[tuple[types.FrameType, int]]:
    """The frames of an error's traceback with their line numbers, outermost first.

    Examples:
        >>> try:
        ...     int('x')
        ... except ValueError as error:
        ...     [line for frame, line in frames_of(error)]
        [2]
    """
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next
