"""The course of a search: θ's curve and its snapshots."""

from collections.abc import Mapping
from typing import Any

from mmengine.runner import Runner
from torch import nn

from mmdynakd.errors import CheckpointError
from mmdynakd.functional import entropy
from mmdynakd.models.unwrap import algorithm_of
from mmdynakd.names import is_lane_name

from .runtime_info import flush

STATE = 'dynakd_search'  # key in a checkpoint
MAX_POINTS = 1000  # of the curve, however long the search


class SearchCourse:
    """Records θ of every lane that searches.

    Args:
        interval: iterations between two points of the curve; doubled, and the curve thinned, each
            time there are more than 1,000 steps in it.

    Attributes:
        history: points of the curve, ``dict(step, lane, theta)``.
        snapshots: candidates so far, ``dict(name, lane, step, theta, entropy, upper_loss)``.
    """

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.history: list[dict[str, Any]] = []
        self.snapshots: list[dict[str, Any]] = []

    def observe(self, runner: Runner, step: int) -> None:
        """Add θ after ``step`` iterations to the curve and to MMEngine's logs."""
        for name, lane in algorithm_of(runner).searched.items():
            theta = lane.selection.marginal()
            self.history.append(dict(step=step, lane=name, theta=theta))
            for teacher, value in theta.items():
                runner.message_hub.update_scalar(f'train/{name}/theta/{teacher}', value)
        if len({point['step'] for point in self.history}) > MAX_POINTS:
            self.interval *= 2
            self.history = [
                p for p in self.history if p['step'] % self.interval == 0 or p['step'] == step
            ]

    def snapshot(self, runner: Runner, step: int) -> None:
        """Make each lane's θ a candidate."""
        lanes = algorithm_of(runner).searched
        for name, lane in lanes.items():
            number = 1 + sum(snapshot['lane'] == name for snapshot in self.snapshots)
            selection = lane.selection
            self.snapshots.append(
                dict(
                    name=label(lanes, name, number),
                    lane=name,
                    step=step,
                    theta=selection.by_teacher(),
                    entropy=entropy(selection.probs()),
                    upper_loss=_upper_loss(runner, name),
                )
            )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return dict(history=self.history, snapshots=self.snapshots, interval=self.interval)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what a checkpoint kept.

        Raises:
            CheckpointError: it could not be from a search.
        """
        check_state(state)
        self.history, self.snapshots = state['history'], state['snapshots']
        self.interval = state['interval']


def label(lanes: Mapping[str, nn.Module], name: str, number: int) -> str:
    """Name snapshot ``number`` (from 1) of a lane: ``cat2``, or ``<lane>_cat2`` of several lanes.

    Examples:
        >>> label({'search': None}, 'search', 2), label({'a': None, 'b': None}, 'a', 2)
        ('cat2', 'a_cat2')
    """
    return f'cat{number}' if len(lanes) == 1 else f'{name}_cat{number}'


def check_state(state: object) -> None:
    """Check what a checkpoint says of a search, whose names become file names.

    Raises:
        CheckpointError: it could not be from a search.
    """
    if not _is_course(state):
        raise CheckpointError(
            f"the checkpoint's {STATE} is damaged or of another program: resume from another one, "
            'or start over (tools/train.py --fresh)'
        )


def _is_course(state: Any) -> bool:
    try:
        entries = [*state['history'], *state['snapshots']]
        points = [(point['lane'], point['step'], point['theta']) for point in entries]
        names = [one['name'] for one in state['snapshots']] + [lane for lane, _, _ in points]
        interval = state['interval']
    except (KeyError, TypeError, IndexError):
        return False
    return (
        all(map(is_lane_name, names))
        and type(interval) is int
        and interval > 0
        and all(type(step) is int and isinstance(theta, Mapping) for _, step, theta in points)
    )


def _upper_loss(runner: Runner, lane: str) -> float | None:
    """Mean of the last 100 upper losses; None before the first upper step."""
    flush(runner)
    buffer = runner.message_hub.log_scalars.get(f'train/{lane}/upper_loss')
    return float(buffer.mean(100)) if buffer is not None else None
