"""The settings of a categorical distribution, checked."""

import logging
from collections.abc import Sequence

import numpy as np
from mmengine.logging import print_log

WEIGHTINGS = ('paper', 'none', 'normalized')
OLD_WEIGHTINGS = {True: 'paper', False: 'none'}  # the names of the first version
GRANULARITIES = ('step', 'sample')
MOST_CLASSES = 10**6


def weighting(value: object) -> str:
    """Check ``weight_by_probability``.

    True and False, its old values, still work; a warning in the log says the new word.

    Args:
        value: One of ``WEIGHTINGS``, or an old value.

    Raises:
        ValueError: For any other value.

    Examples:
        >>> weighting('normalized')
        'normalized'
    """
    if isinstance(value, str) and value in WEIGHTINGS:
        return value
    if isinstance(value, (bool, int, np.bool_)) and value in (0, 1):
        new = OLD_WEIGHTINGS[bool(value)]
        print_log(
            f'weight_by_probability={value!r} is deprecated and will be an error in the next '
            f'version: write weight_by_probability={new!r}',
            'current',
            logging.WARNING,
        )
        return new
    raise ValueError(f'weight_by_probability must be one of {WEIGHTINGS}, got {value!r}')


def granularity_of(granularity: str | None, num_classes: int | None) -> str:
    """Check ``granularity`` and ``num_classes``, and fill in the default of the former.

    Args:
        granularity: ``'step'``, ``'sample'`` or None.
        num_classes: Number of rows of θ, None for a θ of all classes.

    Raises:
        ValueError: For other values, or a θ per class that is drawn once per step.

    Examples:
        >>> granularity_of(None, None), granularity_of(None, 10)
        ('step', 'sample')
    """
    if num_classes is not None and (
        isinstance(num_classes, bool)
        or not isinstance(num_classes, int)
        or not 1 <= num_classes <= MOST_CLASSES
    ):
        raise ValueError(
            f'num_classes must be an integer from 1 to {MOST_CLASSES}, got {num_classes!r}'
        )
    granularity = granularity or ('sample' if num_classes else 'step')
    if granularity not in GRANULARITIES or (num_classes and granularity == 'step'):
        raise ValueError(
            f"granularity must be one of {GRANULARITIES}, and 'sample' if num_classes is given, "
            f'got {granularity!r}'
        )
    return granularity


def number(key: str, value: object, positive: bool) -> float:
    """Check a finite number.

    Args:
        key: Name of the setting, for the message.
        value: What the config says.
        positive: Whether it must be above 0; otherwise 0 is fine too.

    Raises:
        ValueError: For anything else.

    Examples:
        >>> number('temperature', 2, positive=True)
        2.0
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        in_range = value > 0 if positive else value >= 0
        if in_range and value < 1e300:
            return float(value)
    raise ValueError(
        f'{key} must be a finite number {"> 0" if positive else ">= 0"}, got {value!r}'
    )


def column(value: float | Sequence[float], rows: int) -> Sequence[float]:
    """List a teacher's probability in every class.

    Args:
        value: One number for all classes, or one per class.
        rows: Number of classes.

    Raises:
        ValueError: For another number of classes.

    Examples:
        >>> column(0.5, 3)
        [0.5, 0.5, 0.5]
    """
    if not isinstance(value, Sequence):
        return [value] * rows
    if len(value) != rows:
        raise ValueError(f'probs of {len(value)} classes, where num_classes={rows}')
    return value
