"""The course of a search: θ's curve and its snapshots."""

from collections.abc import Mapping
from typing import Any

import msgspec
from mmengine.runner import Runner
from torch import nn

from mmdynakd.errors import CheckpointError
from mmdynakd.functional import entropy
from mmdynakd.models.unwrap import algorithm_of, searched_selections
from mmdynakd.names import is_lane_name
from mmdynakd.values import Candidate, ThetaPoint, Value, plain, typed

from .runtime_info import flush

STATE = 'dynakd_search'  # key in a checkpoint
MAX_POINTS = 1000  # of the curve, however long the search


class Course(Value, frozen=True, kw_only=True):
    """What a checkpoint keeps of a search.

    Attributes:
        history: points of θ's curve.
        snapshots: candidates so far.
        interval: iterations between two points of the curve.
        start: θ by lane when the search began.

    Examples:
        >>> Course(history=(), snapshots=(), interval=10).check()
    """

    history: tuple[ThetaPoint, ...]
    snapshots: tuple[Candidate, ...]
    interval: int
    start: Mapping[str, Any] = {}

    def check(self) -> None:
        """Check what types cannot say: names become file names.

        Raises:
            ValueError: a name cannot be one, or a number is impossible.
        """
        entries: list[ThetaPoint | Candidate] = [*self.history, *self.snapshots]
        names = [one.name for one in self.snapshots] + [one.lane for one in entries]
        steps = [one.step for one in entries]
        if not all(map(is_lane_name, names)) or None in steps or self.interval < 1:
            raise ValueError('not the course of a search')


class SearchCourse:
    """Records θ of every lane that searches.

    Args:
        interval: iterations between two points of the curve; doubled, and the curve thinned, each
            time there are more than 1,000 steps in it.

    Attributes:
        history: points of the curve.
        snapshots: candidates so far.

    Examples:
        >>> course = SearchCourse(interval=10)
        >>> again = SearchCourse(interval=1)
        >>> again.load_state_dict(course.state_dict())
        >>> again.interval
        10
    """

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.history: list[ThetaPoint] = []
        self.snapshots: list[Candidate] = []

    def observe(self, runner: Runner, step: int) -> None:
        """Add θ after ``step`` iterations to the curve and to MMEngine's logs."""
        for name, selection in searched_selections(algorithm_of(runner)).items():
            theta = selection.marginal()
            self.history.append(ThetaPoint(step=step, lane=name, theta=theta))
            for teacher, value in theta.items():
                runner.message_hub.update_scalar(f'train/{name}/theta/{teacher}', value)
        if len({point.step for point in self.history}) > MAX_POINTS:
            self.interval *= 2
            self.history = [
                p for p in self.history if p.step % self.interval == 0 or p.step == step
            ]

    def snapshot(self, runner: Runner, step: int) -> None:
        """Make each lane's θ a candidate."""
        lanes = searched_selections(algorithm_of(runner))
        for name, selection in lanes.items():
            number = 1 + sum(snapshot.lane == name for snapshot in self.snapshots)
            self.snapshots.append(
                Candidate(
                    name=label(lanes, name, number),
                    lane=name,
                    step=step,
                    theta=selection.by_teacher(),
                    entropy=entropy(selection.probs()),
                    upper_loss=_upper_loss(runner, name),
                )
            )

    def state_dict(self) -> dict[str, Any]:
        """Give what a checkpoint keeps, as plain numbers and names."""
        return dict(
            history=plain(self.history), snapshots=plain(self.snapshots), interval=self.interval
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what a checkpoint kept.

        Raises:
            CheckpointError: it could not be from a search.
        """
        course = check_state(state)
        self.history, self.snapshots = list(course.history), list(course.snapshots)
        self.interval = course.interval


def label(lanes: Mapping[str, nn.Module], name: str, number: int) -> str:
    """Name snapshot ``number`` (from 1) of a lane: ``cat2``, or ``<lane>_cat2`` of several lanes.

    Examples:
        >>> label({'search': None}, 'search', 2), label({'a': None, 'b': None}, 'a', 2)
        ('cat2', 'a_cat2')
    """
    return f'cat{number}' if len(lanes) == 1 else f'{name}_cat{number}'


def check_state(state: object) -> Course:
    """Check what a checkpoint says of a search, whose names become file names.

    Raises:
        CheckpointError: it could not be from a search.

    Examples:
        >>> check_state(dict(history=[], snapshots=[], interval=10)).interval
        10
    """
    try:
        course = typed(state, Course)
        course.check()
    except (msgspec.ValidationError, ValueError) as error:
        raise CheckpointError(
            f"the checkpoint's {STATE} is damaged or of another program: resume from another one, "
            'or start over (mmdynakd train --fresh)'
        ) from error
    return course


def _upper_loss(runner: Runner, lane: str) -> float | None:
    """Mean of the last 100 upper losses; None before the first upper step."""
    flush(runner)
    buffer = runner.message_hub.log_scalars.get(f'train/{lane}/upper_loss')
    return float(buffer.mean(100)) if buffer is not None else None
