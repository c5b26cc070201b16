"""What all values have in common."""

import msgspec


class Value(msgspec.Struct, frozen=True):
    """A frozen record that rooms hand to one another.

    Types are checked when a value is read from a file (:func:`mmdynakd.values.read`), not when it
    is built in Python: there mypy checks them.

    Examples:
        >>> class Point(Value, frozen=True):
        ...     x: float
        >>> Point(1.0)
        Point(x=1.0)
    """

    def check(self) -> None:
        """Checks what types cannot say: that the parts of the value fit together.

        Raises:
            ValueError: they do not; the message begins with the entry and the key.

        Examples:
            >>> Value().check()
        """
