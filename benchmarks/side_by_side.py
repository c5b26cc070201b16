"""Time of four candidates as lanes of one run against four runs of their own; losses are equal.

    python benchmarks/side_by_side.py [--batch 64] [--steps 20] [--scenarios ensemble r110 r56]

All sides see the same batches and draws, and take turns; all start from the same weights. A step of
the lanes runs each distinct teacher once. Times are means of medians, one for each outcome of the
draw. `predicted` is the sum of its parts, timed in the same rounds: a pass of each teacher that was
drawn, and M steps of a student without a teacher.
"""

import argparse
from dataclasses import dataclass

import torch
from common import arguments, begin, finish, goal, in_turns, medians, stratified, table
from networks import Steps, batch, drawn, dynakd


@dataclass(frozen=True)
class Scenario:
    """Teachers and student by depth, a theta for each candidate, and the goal.

    The goal is the share of the solo runs' time that the lanes may take.
    """

    teachers: list[int]
    depth: int
    thetas: list[list[float]]
    wanted: float


# Four snapshots each, as of a search on its way from near-uniform, or on its way within the strong
# corner.
SCENARIOS = dict(
    ensemble=Scenario(
        [56, 44, 32],
        20,
        [[0.36, 0.33, 0.31], [0.45, 0.31, 0.24], [0.55, 0.27, 0.18], [0.65, 0.23, 0.12]],
        0.75,
    ),
    r110=Scenario(
        [110, 56, 20],
        20,
        [[0.70, 0.20, 0.10], [0.78, 0.15, 0.07], [0.85, 0.10, 0.05], [0.92, 0.05, 0.03]],
        0.6,
    ),
    r56=Scenario(
        [56, 44, 20],
        8,
        [[0.70, 0.20, 0.10], [0.78, 0.15, 0.07], [0.85, 0.10, 0.05], [0.92, 0.05, 0.03]],
        0.5,
    ),
    tiny=Scenario([14, 8], 8, [[0.7, 0.3], [0.9, 0.1]], 1.0),
)
GPU_WANTED = 0.4
TOLERANCE = 1e-4  # of the loss, relative: rounding, after some steps


class Race:
    """The lanes' run and the solo runs, stepped on the same batches."""

    def __init__(self, scenario: Scenario, args: argparse.Namespace) -> None:
        self.scenario, self.args, self.step, self.worst = scenario, args, 0, 0.0
        fast = (args.fast and dict(fast=args.fast)) or {}
        lanes = {
            f'c{i}': dict(selection=dict(probs=theta)) for i, theta in enumerate(scenario.thetas)
        }
        cfg = dict(teachers=scenario.teachers, depth=scenario.depth, **fast)
        self.side = Steps(dynakd(lanes=lanes, **cfg), args.device)
        self.solos = {
            name: Steps(dynakd(lanes={name: lane}, **cfg), args.device)
            for name, lane in lanes.items()
        }
        self.student = Steps(dynakd(lanes=dict(ce=dict(selection=None)), **cfg), args.device)
        self.data = [batch(args.batch, seed) for seed in range(4)]
        self.inputs = torch.stack(self.data[0]['inputs']).to(args.device)
        self.log: dict[str, dict[str, torch.Tensor]] = {}

    def actions(self) -> dict:
        """What is timed, by name."""
        solos = {name: lambda name=name: self._lower(name, self.solos[name]) for name in self.solos}
        passes = {
            f'teacher {name}': lambda name=name: self.side.model.ensemble.run([name], self.inputs)
            for name in self.side.model.ensemble.names
        }
        return {
            'lanes': lambda: self._lower('lanes', self.side),
            **solos,
            **passes,
            'student': lambda: self.student.lower(self.data[0]),
        }

    def _lower(self, name: str, side: Steps) -> None:
        self.log[name] = side.lower(self.data[(side.model.step) % len(self.data)])
        if len(self.log) == len(self.solos) + 1:
            self._compare()

    def _compare(self) -> None:
        """At the end of a round, compare every lane's loss with that of its solo run."""
        for name in self.solos:
            own, lane = (self.log[side][f'{name}/loss'].item() for side in (name, 'lanes'))
            self.worst = max(self.worst, abs(own - lane) / abs(own))
        if not self.worst <= TOLERANCE * (100 if self.args.fast == 'bf16' else 1):
            raise RuntimeError(f'a lane and its solo run differ by {self.worst:.1e} of the loss')
        self.log.clear()


def employed(scenario: Scenario, first: int, steps: int) -> list[tuple[int, ...]]:
    """The teacher that each candidate draws, by step."""
    return [
        tuple(scenario.teachers[drawn(theta, step)] for theta in scenario.thetas)
        for step in range(first, first + steps)
    ]


def predicted(times: dict[str, float], steps: list[tuple[int, ...]]) -> tuple[float, float]:
    """Predict the seconds of the steps of lanes and of solo runs from their parts."""
    passes = [[times[f'teacher r{depth}'] for depth in step] for step in (*map(set, steps), *steps)]
    lanes, solo = (
        sum(map(sum, part)) / len(steps) for part in (passes[: len(steps)], passes[len(steps) :])
    )
    students = len(steps[0]) * times['student']
    return lanes + students, solo + students


def race(name: str, args: argparse.Namespace) -> float:
    scenario = SCENARIOS[name]
    members = ', '.join(f'r{depth}' for depth in scenario.teachers)
    print(
        f'\n{name}: {members} -> r{scenario.depth}, M = {len(scenario.thetas)}, batch '
        f'{args.batch}; thetas: ' + '; '.join(str(theta) for theta in scenario.thetas)
    )
    sides = Race(scenario, args)
    taken = in_turns(sides.actions(), args.steps, args.device, args.warmup)
    times = medians(taken)
    steps = employed(scenario, args.warmup, args.steps)
    lanes, solo = (
        stratified(values, steps)
        for values in (
            taken['lanes'],
            [sum(values) for values in zip(*(taken[name] for name in sides.solos))],
        )
    )
    parts, solo_parts = predicted(times, steps)
    distinct = sum(len(set(step)) for step in steps) / len(steps)
    table(
        ['', 'measured, ms', 'predicted, ms'],
        [
            ['lanes', 1000 * lanes, 1000 * parts],
            ['solo runs', 1000 * solo, 1000 * solo_parts],
            ['ratio', lanes / solo, parts / solo_parts],
        ],
    )
    passes = ', '.join(
        f'r{depth} {1000 * times[f"teacher r{depth}"]:.1f}' for depth in scenario.teachers
    )
    print(
        f'{distinct:.2f} distinct teachers a step (a pass, ms: {passes}), {len(scenario.thetas)} '
        'students '
        f'({1000 * times["student"]:.1f} ms each); losses of lanes and solo runs differ by at most '
        f'{sides.worst:.1e}'
    )
    wanted = GPU_WANTED if args.device.startswith('cuda') else scenario.wanted
    goal(f'{members} -> r{scenario.depth}: lanes / solo runs, time', lanes / solo, '<=', wanted)
    return lanes / solo


def main(argv: list[str] | None = None) -> None:
    parser = arguments(__doc__, batch=64, steps=20)
    parser.add_argument(
        '--scenarios', choices=list(SCENARIOS), nargs='+', default=['ensemble', 'r110', 'r56']
    )
    parser.add_argument('--fast', choices=['fp32', 'bf16'], help="DynaKD's switch, for all sides")
    parser.add_argument('--warmup', type=int, default=2, help='rounds before the timed ones')
    args = parser.parse_args(argv)
    begin(args, 'Candidates side by side against runs of their own')
    ratios = [race(name, args) for name in args.scenarios]
    print(f'\nthe ratio is that of {args.scenarios[0]!r}')
    finish(ratios[0])


if __name__ == '__main__':
    main()
