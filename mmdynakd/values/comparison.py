"""``comparison.json``: methods over seeds."""

from .base import Value


class MethodResult(Value, frozen=True, kw_only=True):
    """One method over the seeds, paired with DynaKD.

    Attributes:
        method: its name.
        seeds: how many seeds have it.
        val: accuracy on val for each seed, in per cent.
        test: accuracy on test for each seed, in per cent.
        difference: mean of its test minus DynaKD's of the same seed, in points.
        interval: 95% confidence interval of the difference, in points; None for one seed.

    Examples:
        >>> MethodResult(
        ...     method='ce', seeds=1, val=(70.0,), test=(69.0,), difference=-1.0, interval=None
        ... ).difference
        -1.0
    """

    method: str
    seeds: int
    val: tuple[float, ...]
    test: tuple[float, ...]
    difference: float
    interval: tuple[float, float] | None


class Comparison(Value, frozen=True, kw_only=True):
    """Methods over the same seeds.

    Attributes:
        methods: DynaKD first, then the others, the best mean on test first.

    Examples:
        >>> Comparison(methods=()).methods
        ()
    """

    methods: tuple[MethodResult, ...]
