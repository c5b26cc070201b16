"""A lower step with n teachers against steps with each of them alone, and with all averaged.

    python benchmarks/step_cost.py [--batch 64] [--steps 24] [--depth 20] [--teachers 110 56 44 32
    20 26 38 50]

For n = 1, 2, … the first n teachers form an ensemble with uniform theta. Before or after each of
its steps, another model whose only teacher is the drawn one takes the same step. `expected` is the
theta-weighted mean of those single-teacher steps (`-`: a teacher was never drawn, for want of
steps). `by draws` is their mean under the frequencies with which the teachers were drawn, and `n
teachers` the mean of the ensemble's own steps under the same frequencies; each is a mean of medians
by teacher. `of pairs` is the median ratio of such neighbouring steps; the worst of them is the
ratio. Averaging is `selection=dict(type='mmdynakd.Average')`.
"""

import math
import operator
import statistics

import torch
from common import arguments, begin, finish, goal, seconds, stratified, table, turns
from networks import Steps, batch, drawn, dynakd

DEPTHS = [110, 56, 44, 32, 20, 26, 38, 50]
AVERAGED = 5
ALL = 'average of all'


class Sides:
    """The models, and the seconds of their steps by teacher drawn."""

    def __init__(self, args) -> None:
        self.args, self.depths = args, args.teachers
        self.counts = args.counts or range(1, len(self.depths) + 1)
        self.singles = {
            depth: Steps(dynakd([depth], args.depth), args.device) for depth in self.depths
        }
        uniform = dict(probs='uniform', weight_by_probability='none')
        self.drawing = {
            n: Steps(dynakd(self.depths[:n], args.depth, selection=uniform), args.device)
            for n in self.counts
        }
        self.data = [batch(args.batch, seed) for seed in range(4)]
        self.own, self.alone, self.who = ({n: [] for n in self.counts} for _ in range(3))
        self.averaged = min(AVERAGED, max(self.counts))
        self.average = Steps(
            dynakd(
                self.depths[: self.averaged], args.depth, selection=dict(type='mmdynakd.Average')
            ),
            args.device,
        )
        self.averages: list[float] = []
        self._warm_up()

    def _warm_up(self) -> None:
        """Run every network once before anything is timed, drawn or not."""
        inputs = torch.stack(self.data[0]['inputs']).to(self.args.device)
        for side in [*self.singles.values(), *self.drawing.values(), self.average]:
            side.model.ensemble.run(side.model.ensemble.names, inputs)
        for side in self.singles.values():
            side.lower(self.data[0])

    def step(self, n: int, number: int) -> None:
        """Take a step of the model with n teachers, and the same with only the drawn teacher.

        Which goes first alternates.
        """
        model = self.drawing[n].model
        depth = self.depths[drawn([1 / n] * n, model.step)]
        pair = [(self.drawing[n], self.own[n]), (self.singles[depth], self.alone[n])]
        for side, taken in pair if number % 2 else pair[::-1]:
            self._take(side, taken, number)
        if number >= 0:
            self.who[n].append(depth)

    def average_step(self, number: int) -> None:
        self._take(self.average, self.averages, number)

    def _take(self, side: Steps, taken: list[float], number: int) -> None:
        value = seconds(lambda: side.lower(self.data[number % len(self.data)]), self.args.device)
        if number >= 0:
            taken.append(value)


def compare(sides: Sides) -> tuple[list[list], float]:
    """Return the rows of the table, and the worst ratio."""
    alone = {}
    for depth in sides.depths:
        values = [
            value
            for n in sides.counts
            for value, own in zip(sides.alone[n], sides.who[n])
            if own == depth
        ]
        alone[depth] = (
            statistics.median(values) if values else math.nan
        )  # nan: never drawn in so few steps
    rows = []
    for n in sides.counts:
        own, by_draws = (
            stratified(sides.own[n], sides.who[n]),
            stratified(sides.alone[n], sides.who[n]),
        )
        expected = statistics.mean(alone[depth] for depth in sides.depths[:n])
        paired = statistics.median(map(operator.truediv, sides.own[n], sides.alone[n]))
        rows.append(
            [
                n,
                1000 * own,
                1000 * by_draws,
                own / by_draws,
                paired,
                1000 * expected if expected > 0 else '-',
            ]
        )
    return rows, max(row[4] for row in rows)


def against_averaging(sides: Sides) -> float | None:
    """How many times more images a second one drawn teacher gives than averaging all."""
    n = sides.averaged
    if n not in sides.own:
        return None
    own, average = stratified(sides.own[n], sides.who[n]), statistics.median(sides.averages)
    print(
        f'{n} teachers {sides.depths[:n]}: {sides.args.batch / own:.0f} images/s with one drawn a '
        'step, '
        f'{sides.args.batch / average:.0f} with all averaged'
    )
    return average / own


def main(argv: list[str] | None = None) -> None:
    parser = arguments(__doc__, batch=64, steps=24, depth=20)
    parser.add_argument('--teachers', type=int, nargs='+', default=DEPTHS, help='their depths')
    parser.add_argument(
        '--counts', type=int, nargs='+', help='values of n, by default 1 to the number of teachers'
    )
    args = parser.parse_args(argv)
    begin(
        args,
        f'Lower steps: teachers resnet{args.teachers} -> resnet{args.depth}, batch {args.batch}',
    )
    sides = Sides(args)
    for number, names in turns([*map(str, sides.counts), ALL], args.steps, warmup=2):
        for name in names:
            if name == ALL:
                sides.average_step(number)
            else:
                sides.step(int(name), number)
    rows, worst = compare(sides)
    table(['n', 'n teachers, ms', 'by draws, ms', 'ratio', 'of pairs', 'expected, ms'], rows)
    more = against_averaging(sides)
    goal('a step of n teachers against the drawn teachers alone, worst n', worst, '<=', 1.03)
    if more is not None:
        goal(f'images a second against averaging {sides.averaged} teachers', more, '>=', 2.5)
    finish(worst)


if __name__ == '__main__':
    main()
