"""One student, trained and scored: of one run, and over several seeds."""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, UnsetType

from .base import Value
from .fields import (
    Count,
    LaneName,
    Metrics,
    Number,
    OptionalNumber,
    OptionalText,
    OptionalTheta,
    Role,
)


class LaneResult(Value, frozen=True, kw_only=True):
    """One student, trained and scored.

    Attributes:
        name: of the lane.
        role: whether it competed or was trained beside for comparison.
        selection: class of the rule that weighed its teachers; None without teachers.
        teachers: names of its teachers.
        theta: ``{teacher: probability}``, class-conditional ``{teacher: [probability of each
            class]}``, or None where nothing is drawn.
        entropy: of θ, in nats; absent without θ.
        weight_by_probability: how θ scales the loss; absent without θ.
        val: ``{metric: value}`` on the validation split after the last epoch; accuracies in per
            cent.
        test: the same on the test split, seen once.
        skipped: training steps skipped because a number was not finite.
        seed: of the run, where there are several; absent with one.
        more: other numbers that the selection reports, and keys of later versions.

    Examples:
        >>> lane = LaneResult(
        ...     name='cat1',
        ...     role='candidate',
        ...     theta=dict(a=1.0),
        ...     val={'accuracy/top1': 71.5},
        ...     test={'accuracy/top1': 70.9},
        ... )
        >>> lane.val['accuracy/top1']
        71.5
    """

    name: LaneName
    role: Role
    selection: OptionalText = None
    teachers: tuple[str, ...] = ()
    theta: OptionalTheta = None
    entropy: Number | UnsetType = UNSET
    weight_by_probability: bool | str | UnsetType = UNSET
    val: Metrics
    test: Metrics
    skipped: Count = 0
    seed: Count | UnsetType = UNSET
    more: Mapping[str, Any] = {}


class Moments(Value, frozen=True, kw_only=True):
    """Mean and spread of a number over seeds.

    Attributes:
        mean: over the seeds.
        std: sample standard deviation (n − 1); None for one seed.

    Examples:
        >>> Moments(mean=70.0, std=None).mean
        70.0
    """

    mean: Number
    std: OptionalNumber


class LaneSummary(Value, frozen=True, kw_only=True):
    """A lane over several seeds.

    Attributes:
        name: of the lane.
        role: whether it competed or was trained beside for comparison.
        seeds: in the order in which they were given.
        val: of the metric that chooses, on val; in its unit.
        test: the same on test.

    Examples:
        >>> once = Moments(mean=70.0, std=None)
        >>> LaneSummary(name='ce', role='baseline', seeds=(0,), val=once, test=once).seeds
        (0,)
    """

    name: LaneName
    role: Role
    seeds: tuple[Count, ...]
    val: Moments
    test: Moments


def lane_result(**fields: Any) -> LaneResult:
    """Makes a lane's result of the numbers that its selection reports, whatever their names.

    Args:
        fields: those of :class:`LaneResult`, and others, which go to ``more``.

    Examples:
        >>> lane = lane_result(name='a', role='baseline', val={}, test={}, temperature=2.0)
        >>> lane.more
        {'temperature': 2.0}
    """
    known = LaneResult.__struct_fields__
    more = {key: value for key, value in fields.items() if key not in known}
    return LaneResult(**{k: v for k, v in fields.items() if k in known}, more=more)
