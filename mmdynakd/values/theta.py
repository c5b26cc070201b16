"""θ as a value: a point of the simplex over named teachers, or one point for each class."""

from collections.abc import Iterable, Sequence

from mmdynakd.functional import as_simplex, as_simplices
from mmdynakd.names import unknown_names

from .base import Value
from .fields import Theta


class ThetaPoint(Value, frozen=True, kw_only=True):
    """θ of one lane at one step of a search.

    Attributes:
        step: training iterations done.
        lane: the lane that learns this θ.
        theta: ``{teacher: probability}``; of a class-conditional θ, the mean over the classes.

    Examples:
        >>> ThetaPoint(step=10, lane='search', theta=dict(a=0.25, b=0.75)).theta['b']
        0.75
    """

    step: int
    lane: str
    theta: dict[str, float]


def is_by_class(theta: Theta) -> bool:
    """Whether θ is class-conditional: any teacher has a list of probabilities.

    Examples:
        >>> is_by_class(dict(a=0.5, b=0.5)), is_by_class(dict(a=[0.5, 1.0], b=[0.5, 0.0]))
        (False, True)
    """
    return any(isinstance(column, Sequence) for column in theta.values())


def check_theta(theta: Theta, teachers: Iterable[str]) -> None:
    """Checks that θ is a point of the simplex over some of the teachers, or one for each class.

    Args:
        theta: ``{teacher: probability}`` or ``{teacher: [probability of each class]}``.
        teachers: the names that θ may use.

    Raises:
        ValueError: an unknown teacher, no teacher, numbers beside lists, lists of different
            lengths, or probabilities that are negative or do not sum to 1.

    Examples:
        >>> check_theta(dict(a=0.5, b=0.6), ['a', 'b'])
        Traceback (most recent call last):
        ValueError: θ sums to 1.1, not 1: [0.5, 0.6]
    """
    teachers = list(teachers)
    unknown = unknown_names(theta, teachers)
    if unknown or not theta:
        wrong = f'unknown: {unknown}' if unknown else 'it is empty'
        raise ValueError(f'θ must name teachers of {teachers}; {wrong}')
    if not is_by_class(theta):
        as_simplex([p for p in theta.values() if not isinstance(p, Sequence)], len(theta))
        return
    columns = [column for column in theta.values() if isinstance(column, Sequence)]
    if len(columns) < len(theta):
        raise ValueError('θ must hold one number a teacher, or one list a teacher')
    classes = [len(column) for column in columns]
    if len(set(classes)) > 1 or not classes[0]:
        raise ValueError(f'θ holds lists of {classes} classes')
    as_simplices(list(zip(*columns, strict=True)), classes[0], len(columns))
