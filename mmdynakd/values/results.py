"""``results.json``: the students of an evaluation, and which one was chosen."""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, UnsetType

from mmdynakd.errors import UserError
from mmdynakd.names import suggestion

from .base import Value
from .checks import check_different, check_lane_name, check_names
from .fields import (
    Count,
    LaneName,
    Metrics,
    Names,
    Number,
    OptionalCount,
    OptionalNumber,
    OptionalText,
    OptionalTheta,
    Role,
    Text,
)
from .files import read
from .theta import check_theta

AGAIN = 'run the evaluation again'


class RunFacts(Value, frozen=True, kw_only=True):
    """What one needs to repeat a run.

    Attributes:
        teachers: names, in the order of θ.
        seed: of the run.
        draw_seed: of the uniform numbers that draw teachers; None where an old file does not say,
            as for the fields below.
        epochs: of training.
        iterations: of training, over all epochs.
        processes: that shared each batch.
        device: name of the GPU, or ``CPU (x86_64)``.
        config: path of the config file; None for a config made in Python.
        config_sha256: of the config without names, folders and resuming.
        versions: ``{package: version}``, of this package, Python and the libraries.

    Examples:
        >>> facts = RunFacts(
        ...     teachers=('a', 'b'), seed=0, epochs=240, device='CPU (x86_64)', versions={}
        ... )
        >>> facts.epochs
        240
    """

    teachers: Names
    seed: Count
    draw_seed: OptionalCount = None
    epochs: Count
    iterations: OptionalCount = None
    processes: OptionalCount = None
    device: Text
    config: OptionalText = None
    config_sha256: OptionalText = None
    versions: Mapping[str, Any]


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
