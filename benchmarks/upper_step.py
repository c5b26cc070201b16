"""An upper step with its validation records kept, against a lower step; a search against KD.

    python benchmarks/upper_step.py [--batch 64] [--steps 9] [--depth 20] [--teachers 56 44 32]
    [--interval 5]

The sides take one step each in turn: the lower step of each teacher alone; the upper step with its
teachers run, and with their records kept; first order and unrolled. A lower step of the search
costs the mean over the teachers (uniform theta). A search of E epochs is E epochs of lower steps,
an upper step every `--interval` of them, and one pass of the teachers over the 5,000 validation
images. KD is E epochs with the first teacher. The ratio is upper step with records kept / lower
step.
"""

import statistics

import torch
from common import arguments, begin, finish, goal, in_turns, medians, table
from networks import CLASSES, Steps, dynakd

from mmdynakd.models.teachers import RecordStore

EPOCHS, TRAIN, VAL = 240, 45000, 5000
VAL_SOURCE = 'noise 1'


def batch(size: int, seed: int) -> dict:
    """What ``mmdynakd.ArrayDataset`` serves, without augmentation."""
    generator = torch.Generator().manual_seed(seed)
    return dict(
        inputs=torch.randint(0, 256, (size, 3, 32, 32), generator=generator, dtype=torch.uint8),
        labels=torch.randint(0, CLASSES, (size,), generator=generator),
        views=dict(source=f'noise {seed}', size=size, ids=torch.arange(size)),
    )


def searching(args, kept: bool, **options) -> Steps:
    side = Steps(dynakd(args.teachers, args.depth, fast=args.fast, **options), args.device)
    if kept:
        side.model.ensemble.keep(VAL_SOURCE, RecordStore())
    return side


def measure(args) -> dict[str, float]:
    """Measure the median seconds of a step by side."""
    train, val = batch(args.batch, 0), batch(args.batch, 1)
    sides = {}
    for depth in args.teachers:
        alone = Steps(
            dynakd([depth], args.depth, fast=args.fast, selection=dict(probs='uniform')),
            args.device,
        )
        sides[f'lower r{depth}'] = lambda alone=alone: alone.lower(train)
    for objective in ('first_order', 'unrolled'):
        for kept in (True, False):
            side = searching(args, kept, upper_objective=objective)
            sides[f'{objective} {"kept" if kept else "run"}'] = lambda side=side: side.upper(
                val, train
            )
    taken = medians(in_turns(sides, args.steps, args.device, warmup=2))
    teachers = searching(args, False).model.ensemble
    inputs = val['inputs'].to(args.device)
    passes = in_turns(
        {name: lambda name=name: teachers.run([name], inputs) for name in teachers.names},
        args.steps,
        args.device,
        warmup=2,
    )
    return {**taken, 'all teachers': sum(medians(passes).values())}


def search_to_kd(args, taken: dict[str, float], upper: float, interval: int) -> float:
    """Time of the whole search over that of KD with the first teacher."""
    lower = statistics.mean(taken[f'lower r{depth}'] for depth in args.teachers)
    steps = EPOCHS * TRAIN / args.batch
    search = steps * (lower + upper / interval) + VAL / args.batch * taken['all teachers']
    return search / (steps * taken[f'lower r{args.teachers[0]}'])


def main() -> None:
    parser = arguments(__doc__, batch=64, steps=9, depth=20)
    parser.add_argument(
        '--teachers', type=int, nargs='+', default=[56, 44, 32], help='depths, the strongest first'
    )
    parser.add_argument(
        '--interval', type=int, default=5, help='lower steps from one upper step to the next'
    )
    parser.add_argument('--fast', default='fp32', help="DynaKD's switch; 'none' for the plain path")
    args = parser.parse_args()
    args.fast = None if args.fast == 'none' else args.fast
    begin(
        args, f'resnet{args.teachers} -> resnet{args.depth}, batch {args.batch}, fast={args.fast!r}'
    )
    taken = measure(args)
    lower = statistics.mean(taken[f'lower r{depth}'] for depth in args.teachers)
    rows = []
    for name, value in taken.items():
        if name.startswith(('first', 'unrolled')):
            rows.append(
                [
                    name,
                    1000 * value,
                    value / lower,
                    search_to_kd(args, taken, value, args.interval),
                    search_to_kd(args, taken, value, 1),
                ]
            )
    print(
        f'lower step, mean over the teachers: {1000 * lower:.0f} ms; '
        + ', '.join(f'r{depth} {1000 * taken[f"lower r{depth}"]:.0f} ms' for depth in args.teachers)
    )
    table(
        [
            'upper step',
            'ms',
            'to a lower step',
            f'search / KD, interval {args.interval}',
            'interval 1',
        ],
        rows,
    )
    first = {row[0]: row for row in rows}['first_order kept']
    goal('upper step / lower step, first order, records kept', first[2], '<=', 0.25)
    goal(
        f'search / KD with the first teacher, upper step every {args.interval}', first[3], '<=', 1.3
    )
    goal('search / KD with the first teacher, an upper step every step', first[4], '<=', 1.3)
    finish(first[2])


if __name__ == '__main__':
    main()
