"""A run with its teachers' records in the store, against one without, and one that fills it.

    python benchmarks/store.py [--batch 128] [--steps 15] [--depth 20] [--teachers 56] [--path DIR]

In each turn the three take the same lower step on the same views, so that the second run finds what
the first one wrote. Records are the logits, twice (from a recorder and from the network). The ratio
is images a second of the second run over those without a store.
"""

import functools
import tempfile

import torch
from common import arguments, begin, finish, medians, seconds, table, turns
from networks import CLASSES, Steps, dynakd


def batch(size: int, number: int, epoch: int) -> dict:
    """Batch ``number`` of an epoch, as ``mmdynakd.ArrayDataset`` serves it.

    The pixels are noise, a function of (number, epoch).
    """
    generator = torch.Generator().manual_seed(1000 * epoch + number)
    return dict(
        inputs=torch.randint(0, 256, (size, 3, 32, 32), generator=generator, dtype=torch.uint8),
        labels=torch.randint(0, CLASSES, (size,), generator=generator),
        views=dict(
            source='noise', size=EPOCH, ids=epoch * EPOCH + number * size + torch.arange(size)
        ),
    )


EPOCH = 45000


def measure(args, dtype: str, folder: str) -> tuple[dict[str, float], float]:
    """Measure the median seconds of a step by side, and the largest error of what was stored."""
    options = dict(selection=dict(probs='uniform'), fast=args.fast)
    store = dict(path=folder, dtype=dtype)
    sides = {'no store': Steps(dynakd(args.teachers, args.depth, **options), args.device)}
    for name in ('first run', 'second run'):
        sides[name] = Steps(dynakd(args.teachers, args.depth, store=store, **options), args.device)
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number, _ in turns(list(sides), args.steps, warmup=2):
        data = batch(args.batch, number + 2, 0)
        for name, side in sides.items():  # the first run before the second: their order is given
            value = seconds(functools.partial(side.lower, data), args.device)
            if number >= 0:
                taken[name].append(value)
    return medians(taken), sides['first run'].model.ensemble.store.error()


def main() -> None:
    parser = arguments(__doc__, batch=128, steps=15, depth=20)
    parser.add_argument('--teachers', type=int, nargs='+', default=[56], help='their depths')
    parser.add_argument('--fast', default='fp32', help="DynaKD's switch; 'none' for the plain path")
    parser.add_argument(
        '--path', help='where the store lies while this runs (default: a temporary folder)'
    )
    args = parser.parse_args()
    args.fast = None if args.fast == 'none' else args.fast
    begin(
        args, f'resnet{args.teachers} -> resnet{args.depth}, batch {args.batch}, fast={args.fast!r}'
    )
    rows, ratios = [], {}
    for dtype in ('float16', 'float32'):
        with tempfile.TemporaryDirectory(dir=args.path) as folder:
            taken, error = measure(args, dtype, folder)
        ratios[dtype] = taken['no store'] / taken['second run']
        rows.append(
            [
                dtype,
                *(args.batch / taken[name] for name in taken),
                taken['no store'] / taken['first run'],
                ratios[dtype],
                f'{error:.2g}',
            ]
        )
    table(
        [
            'stored as',
            'no store, img/s',
            'first run, img/s',
            'second run, img/s',
            'first / none',
            'second / none',
            'largest error',
        ],
        rows,
    )
    finish(ratios['float16'])


if __name__ == '__main__':
    main()
