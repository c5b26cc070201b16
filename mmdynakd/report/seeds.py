"""Lanes that were trained with several seeds."""

import statistics
from collections.abc import Sequence

from msgspec import UNSET

from mmdynakd.values import LaneResult, LaneSummary, Moments


def by_lane(rows: Sequence[LaneResult]) -> dict[str, list[LaneResult]]:
    """Groups results by lane: one for each lane, or one for each seed of it.

    Examples:
        >>> row = LaneResult(name='ce', role='baseline', val={}, test={})
        >>> {name: len(rows) for name, rows in by_lane([row, row]).items()}
        {'ce': 2}
    """
    lanes: dict[str, list[LaneResult]] = {}
    for row in rows:
        lanes.setdefault(row.name, []).append(row)
    return lanes


def seeds_summary(rows: Sequence[LaneResult], metric: str) -> list[LaneSummary]:
    """Mean and sample standard deviation of val and test over the seeds of each lane.

    Args:
        rows: of all seeds, each with its ``seed``.
        metric: to summarise, in per cent.

    Returns:
        One entry for each lane, in the order in which lanes first appear.

    Examples:
        >>> rows = [
        ...     LaneResult(name='ce', role='baseline', seed=seed, val={'top1': v}, test={'top1': v})
        ...     for seed, v in ((0, 70.0), (1, 72.0))
        ... ]
        >>> seeds_summary(rows, 'top1')[0].val
        Moments(mean=71.0, std=1.4142135623730951)
    """
    return [
        LaneSummary(
            name=name,
            role=own[0].role,
            seeds=tuple(row.seed for row in own if row.seed is not UNSET),
            val=_moments([row.val[metric] for row in own]),
            test=_moments([row.test[metric] for row in own]),
        )
        for name, own in by_lane(rows).items()
    ]


def spread_text(values: Sequence[float]) -> str:
    """Mean and sample standard deviation as text.

    Examples:
        >>> spread_text([70.0, 72.0]), spread_text([70.0])
        ('71.00 ± 1.41', '70.00')
    """
    mean = statistics.fmean(values)
    return f'{mean:.2f}' if len(values) < 2 else f'{mean:.2f} ± {statistics.stdev(values):.2f}'


def _moments(values: Sequence[float]) -> Moments:
    return Moments(
        mean=statistics.fmean(values), std=statistics.stdev(values) if len(values) > 1 else None
    )
