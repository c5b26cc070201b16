"""Lanes that were trained with several seeds."""

import statistics
from collections.abc import Mapping, Sequence


def by_lane(rows: Sequence[Mapping]) -> dict[str, list[Mapping]]:
    """The rows of ``results.json`` by lane: one, or one a seed."""
    lanes: dict[str, list[Mapping]] = {}
    for row in rows:
        lanes.setdefault(row['name'], []).append(row)
    return lanes


def seeds_summary(rows: Sequence[Mapping], metric: str) -> list[dict]:
    """One entry a lane: mean and sample standard deviation of val and test over its seeds (None for
    one seed).

    Args:
        rows: of ``results.json``, each with its ``seed``.
        metric: in per cent.
    """
    return [
        dict(
            name=name,
            role=own[0]['role'],
            seeds=[row['seed'] for row in own],
            **{split: _moments([row[split][metric] for row in own]) for split in ('val', 'test')},
        )
        for name, own in by_lane(rows).items()
    ]


def spread_text(values: Sequence[float]) -> str:
    """E.g. ``70.12 ± 0.31``, or ``70.12`` of one value."""
    mean = statistics.fmean(values)
    return f'{mean:.2f}' if len(values) < 2 else f'{mean:.2f} ± {statistics.stdev(values):.2f}'


def _moments(values: Sequence[float]) -> dict[str, float | None]:
    return dict(
        mean=statistics.fmean(values), std=statistics.stdev(values) if len(values) > 1 else None
    )
