"""Says when θ has collapsed, and when it never moved."""

import logging
import math
from typing import Any

import numpy as np
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmdynakd.functional import entropy, total_variation
from mmdynakd.models.selections import CategoricalDistribution
from mmdynakd.models.unwrap import algorithm_of, searched_selections

# of log n, the entropy of a uniform θ: one of five teachers has 94 %, one of two 97 %
COLLAPSED = 0.2
MOVED = 1e-3  # total variation from where θ began
PATIENCE = 100  # upper steps


class ThetaWatch:
    """Looks at θ of the lanes that search; at the mean over classes of a class-conditional one.

    Attributes:
        start: θ by lane when the search began, for the checkpoints.

    Examples:
        A hook calls ``begin(runner)`` before the search and ``look(runner, step)`` during it.

        >>> ThetaWatch().start
        {}
    """

    def __init__(self) -> None:
        self.start: dict[str, Any] = {}
        self._moved: dict[str, float] = {}  # the furthest from the start so far
        self._said: set[tuple[str, str]] = set()

    def begin(self, runner: Runner) -> None:
        """Note θ before the search, unless it was noted before a resumption."""
        for name, selection in searched_selections(algorithm_of(runner)).items():
            self.start.setdefault(name, selection.probs())
        if not runner.optim_wrapper.upper_steps_before(runner.max_iters):
            print_log(
                f'θ will not move: optim_wrapper.warmup={runner.optim_wrapper.warmup} lasts as '
                f'long as the whole search, {runner.max_iters} iterations (docs/faults.md)',
                'current',
                logging.WARNING,
            )

    def look(self, runner: Runner, step: int) -> None:
        """Look at θ after ``step`` iterations; warn once for each reason and lane.

        Args:
            runner: of the search.
            step: iterations that are done.

        Raises:
            FloatingPointError: a θ is not finite.
        """
        steps = runner.optim_wrapper.upper_steps_before(step)
        for name, selection in searched_selections(algorithm_of(runner)).items():
            theta, n = selection.probs(), len(selection.teachers)
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
                self._collapsed(name, step, selection)
            if steps >= PATIENCE or (steps and step == runner.max_iters):
                self._still(name, step, steps)

    def _collapsed(self, name: str, step: int, selection: CategoricalDistribution) -> None:
        theta = selection.marginal()
        best = max(theta, key=lambda teacher: theta[teacher])
        self._say(
            name,
            'collapsed',
            f"θ of lane '{name}' has collapsed on '{best}' ({theta[best]:.3f}) at iteration "
            f'{step}: its entropy, {entropy(selection.probs()):.3f}, is under {COLLAPSED} log n. '
            'The first-order search goes to the teacher nearest to the student, even if it is the '
            "weakest. If this is one, try upper_objective='unrolled', entropy_weight, a lower "
            'optim_wrapper.theta.optimizer.lr, a longer optim_wrapper.warmup; let fixed_candidates '
            'and single_teachers compete',
        )

    def _still(self, name: str, step: int, steps: int) -> None:
        if self._moved[name] < MOVED:
            self._say(
                name,
                'still',
                f"θ of lane '{name}' has not moved (total variation {self._moved[name]:.1e}) by "
                f'iteration {step}, after {steps} upper steps: raise '
                'optim_wrapper.theta.optimizer.lr or lower upper_interval; see whether the '
                'teachers differ at all (mmdynakd check teachers)',
            )

    def _say(self, name: str, reason: str, text: str) -> None:
        if (name, reason) not in self._said:
            self._said.add((name, reason))
            print_log(f'{text} (docs/faults.md)', 'current', logging.WARNING)
