"""The one rule by which a candidate is chosen."""

import statistics
from collections.abc import Iterable, Mapping, Sequence


def choose(candidates: Iterable[str], val: Mapping[str, Sequence[float]]) -> str:
    """Choose the candidate whose students score best on the validation split.

    Args:
        candidates: names of the lanes that compete.
        val: each lane's accuracy on val in the last epoch, in per cent, one number per seed.

    Returns:
        The name with the highest mean over the seeds; the first of equals.

    Examples:
        >>> choose(['a', 'b'], {'a': [70.0, 71.0], 'b': [71.5, 70.5], 'baseline': [90.0, 90.0]})
        'b'
    """
    return max(candidates, key=lambda name: statistics.fmean(val[name]))


def best_seed(seeds: Sequence[int], val: Sequence[float]) -> int:
    """Choose, among the students of one lane, the one to export.

    Args:
        seeds: one per student.
        val: the students' accuracies on val, in per cent.

    Returns:
        The seed of the highest; the first of equals.

    Examples:
        >>> best_seed([0, 1, 2], [70.0, 71.5, 71.5])
        1
    """
    return seeds[val.index(max(val))]


def rule(metric: str, seeds: int = 1) -> str:
    """Describe the rule, for the results.

    Examples:
        >>> rule('accuracy/top1')
        'highest val accuracy/top1 of the last epoch among the candidates; test seen once, after it'
    """
    if seeds == 1:
        return (
            f'highest val {metric} of the last epoch among the candidates; test seen once, after it'
        )
    return (
        f'highest val {metric} of the last epoch, mean over {seeds} seeds, among the candidates; '
        'test seen once a student, after its training'
    )
