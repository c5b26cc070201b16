"""The entries of the optimizer: one a lane, named after it, and one a θ that is learned.

Only this file knows how the two are told apart. No lane's name has a dot
(:func:`mmdynakd.names.is_lane_name`), so no lane can be taken for one of the others.
"""

import copy
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

from mmdynakd.names import unknown_names

GUARD = '.skipped'  # beside the entries in the optimizer's state: the guard's counts
_THETA = '.theta'

Schedulers: TypeAlias = Mapping[str, Any] | list[Mapping[str, Any]]


class HasLanes(Protocol):
    """What is asked of the algorithm: the names of its lanes, and which of them learn θ.

    Examples:
        Any algorithm with lanes has it, as :class:`mmdynakd.models.DynaKD`.
    """

    @property
    def lanes(self) -> Any:
        """The lanes by name."""

    @property
    def searched(self) -> Any:
        """The lanes that learn θ, by name."""


def theta_entry(lane: str) -> str:
    """The entry of a lane's θ.

    Examples:
        >>> theta_entry('search')
        'search.theta'
    """
    return lane + _THETA


def is_theta(entry: str) -> bool:
    """Whether an entry steps a θ, rather than a student.

    Examples:
        >>> is_theta('search'), is_theta('search.theta')
        (False, True)
    """
    return entry.endswith(_THETA)


def lane_of(entry: str) -> str:
    """The lane to which an entry belongs, whether it steps the student or θ.

    Examples:
        >>> lane_of('search'), lane_of('search.theta')
        ('search', 'search')
    """
    return entry.removesuffix(_THETA)


def expand_schedulers(schedulers: Schedulers | None, algorithm: HasLanes) -> dict[str, Any] | None:
    """Turns the config's parameter schedulers into those of each optimizer entry.

    Args:
        schedulers: ``dict(student=…, theta=…)``, each a scheduler or a list of them; or such a
            scheduler or list for the students only.
        algorithm: a :class:`DynaKD`, unwrapped.

    Returns:
        The schedulers by entry, each its own copy; None for None.

    Raises:
        ValueError: there is another key than ``student`` and ``theta``.

    Examples:
        >>> from types import SimpleNamespace
        >>> algorithm = SimpleNamespace(lanes=['search', 'best'], searched=['search'])
        >>> expand_schedulers([dict(type='StepLR')], algorithm)
        {'search': [{'type': 'StepLR'}], 'best': [{'type': 'StepLR'}], 'search.theta': []}
    """
    if schedulers is None:
        return None
    if not isinstance(schedulers, Mapping) or 'type' in schedulers:
        schedulers = dict(student=schedulers)
    unknown = unknown_names(schedulers, ('student', 'theta'))
    if unknown:
        raise ValueError(f"param_scheduler takes the keys 'student' and 'theta', not {unknown}")
    entries = {name: schedulers.get('student', []) for name in algorithm.lanes}
    entries.update({theta_entry(lane): schedulers.get('theta', []) for lane in algorithm.searched})
    return {name: copy.deepcopy(value) for name, value in entries.items()}
