"""A user's mistakes; below every room."""


class UserError(ValueError):
    """Its message tells the mistake whole: where it is (file, key), what to do. Tools show it
    without traceback.
    """


class CheckpointError(UserError):
    """A checkpoint cannot be used; the message names whose it is, the file and the remedy."""


class UnreachableError(UserError, OSError):
    """A file system does not answer, however often it was asked."""
