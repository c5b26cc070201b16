"""A user's mistakes; below every room."""


class UserError(ValueError):
    """Its message tells the mistake whole: where it is (file, key), what to do. Tools show it without traceback."""
