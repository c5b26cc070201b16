"""``results.json``: the students of an evaluation, and which one was chosen."""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, UnsetType

from mmdynakd.errors import UserError
from mmdynakd.names import suggestion

from .checks import check_different, check_lane_name, check_names
from .facts import RunFacts
from .fields import Count, LaneName, Text
from .files import read
from .lanes import LaneResult, LaneSummary
from .theta import check_theta

AGAIN = 'run the evaluation again'


class RunChoice(RunFacts, frozen=True):
    """What was chosen, and the facts of the run that it was chosen from.

    Its fields are positional, so that they come before those of :class:`RunFacts` in a file.

    Attributes:
        selected: name of the lane whose student was exported.
        selection: the rule of choice, in words.
        test_size: images in the test split.

    Examples:
        >>> RunChoice.__struct_fields__[:4]
        ('selected', 'selection', 'test_size', 'teachers')
    """

    selected: LaneName
    selection: Text
    test_size: Count


class Results(RunChoice, frozen=True, kw_only=True):
    """The results of an evaluation.

    Attributes:
        lanes: a row for each lane; with several seeds, for each seed and lane.
        student_seed: of the student that was exported; absent with one seed, as the fields below.
        seeds: in the order in which they were given.
        summary: a row for each lane.
        more: keys of later versions.

    Examples:
        >>> lane = LaneResult(name='ce', role='baseline', val={}, test={})
        >>> results = Results(
        ...     selected='ce',
        ...     selection='the only one',
        ...     test_size=100,
        ...     teachers=('a',),
        ...     seed=0,
        ...     epochs=1,
        ...     device='CPU',
        ...     versions={},
        ...     lanes=(lane,),
        ... )
        >>> results.check()
        >>> results.chosen.name
        'ce'
    """

    lanes: tuple[LaneResult, ...]
    student_seed: Count | UnsetType = UNSET
    seeds: tuple[Count, ...] | UnsetType = UNSET
    summary: tuple[LaneSummary, ...] | UnsetType = UNSET
    more: Mapping[str, Any] = {}

    @property
    def chosen(self) -> LaneResult:
        """The row of the selected lane; with several seeds, its first."""
        return next(row for row in self.lanes if row.name == self.selected)

    def check(self) -> None:
        """Checks names, θ, and that the selected lane is there.

        Raises:
            ValueError: they are wrong, or it is not.
        """
        check_names('teachers', self.teachers)
        for number, row in enumerate(self.lanes):
            place = f'lanes[{number}]'
            check_lane_name(f'{place}: ', 'name', row.name)
            try:
                if row.theta is not None:
                    check_theta(row.theta, row.theta)
            except ValueError as error:
                raise ValueError(f'{place} ({row.name!r}): theta: {error}') from error
        names = [row.name for row in self.lanes]
        check_different(names, [row.seed for row in self.lanes])
        if self.selected not in names:
            raise ValueError(f'selected is {self.selected!r}, which is none of the lanes {names}')


def read_results(path: str, metric: str | None = None) -> Results:
    """Reads ``results.json`` of an evaluation; keys of later versions are kept.

    Args:
        path: of the file.
        metric: that every lane must have, on val and on test.

    Raises:
        UserError: as :func:`mmdynakd.values.read`; also where a lane lacks the metric.

    Examples:
        >>> read_results('no/results.json')
        Traceback (most recent call last):
        mmdynakd.errors.UserError: no/results.json is missing
    """
    results = read(path, Results, AGAIN)
    for number, row in enumerate(results.lanes if metric is not None else ()):
        for split, found in (('val', row.val), ('test', row.test)):
            if metric not in found:
                raise UserError(
                    f'{path}: lanes[{number}] ({row.name!r}): {split} has no '
                    f'{metric!r}{suggestion(metric, found)}; it has {sorted(found)}'
                )
    return results
