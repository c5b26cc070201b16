"""Says when θ has collapsed, and when it never moved."""

import logging
import math

import numpy as np
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmdynakd.functional import entropy, total_variation
from mmdynakd.models.unwrap import algorithm_of

COLLAPSED = (
    0.2  # of log n, the entropy of a uniform θ: one of five teachers has 94 %, one of two 97 %
)
MOVED = 1e-3  # total variation from where θ began
PATIENCE = 100  # upper steps


class ThetaWatch:
    """Looks at θ of the lanes that search (of a class-conditional one at the mean over its
    classes).

    Attributes:
        start: θ at the beginning by lane, for the checkpoints.
    """

    def __init__(self) -> None:
        self.start: dict[str, list] = {}
        self._moved: dict[str, float] = {}  # the furthest from the start so far
        self._said: set[tuple[str, str]] = set()

    def begin(self, runner: Runner) -> None:
        """Before the search, or its resumption."""
        for name, lane in algorithm_of(runner).searched.items():
            self.start.setdefault(name, lane.selection.probs())
        if not runner.optim_wrapper.upper_steps_before(runner.max_iters):
            print_log(
                f'θ will not move: optim_wrapper.warmup={runner.optim_wrapper.warmup} lasts as '
                'long as the whole '
                f'search, {runner.max_iters} iterations (docs/faults.md)',
                'current',
                logging.WARNING,
            )

    def look(self, runner: Runner, step: int) -> None:
        """After ``step`` iterations: warns, once for each reason and lane.

        Raises:
            FloatingPointError: for a θ that is not finite.
        """
        steps = runner.optim_wrapper.upper_steps_before(step)
        for name, lane in algorithm_of(runner).searched.items():
            theta, n = lane.selection.probs(), len(lane.selection.teachers)
            if not np.isfinite(theta).all():
                raise FloatingPointError(
                    f"θ of lane '{name}' is not finite at iteration {step}: lower "
                    'optim_wrapper.theta.optimizer.lr, or give optim_wrapper.theta a clip_grad'
                )
            if n == 1:
                continue
            self._moved[name] = max(
                self._moved.get(name, 0.0), total_variation(theta, self.start[name])
            )
            if entropy(theta) < COLLAPSED * math.log(n):
                self._collapsed(name, step, lane.selection)
            if steps >= PATIENCE or (steps and step == runner.max_iters):
                self._still(name, step, steps)

    def _collapsed(self, name: str, step: int, selection) -> None:
        theta = selection.marginal()
        best = max(theta, key=theta.get)
        self._say(
            name,
            'collapsed',
            f"θ of lane '{name}' has collapsed on '{best}' ({theta[best]:.3f}) at iteration "
            f'{step}: its entropy, {entropy(selection.probs()):.3f}, is under {COLLAPSED} log n. '
            'The first-order '
            'search goes to the teacher nearest to the student, be it the weakest. If this is one, '
            'try '
            "upper_objective='unrolled', entropy_weight, a lower optim_wrapper.theta.optimizer.lr, "
            'a '
            'longer optim_wrapper.warmup; let fixed_candidates and single_teachers compete',
        )

    def _still(self, name: str, step: int, steps: int) -> None:
        if self._moved[name] < MOVED:
            self._say(
                name,
                'still',
                f"θ of lane '{name}' has not moved (total variation {self._moved[name]:.1e}) by "
                f'iteration {step}, after {steps} upper steps: raise '
                'optim_wrapper.theta.optimizer.lr or lower '
                'upper_interval; see whether the teachers differ at all (mmdynakd check teachers)',
            )

    def _say(self, name: str, reason: str, text: str) -> None:
        if (name, reason) not in self._said:
            self._said.add((name, reason))
            print_log(f'{text} (docs/faults.md)', 'current', logging.WARNING)
