"""Images a second of DynaKD with one teacher, MMRazor's distiller and a bare PyTorch loop.

    python benchmarks/against_mmrazor.py [--batch 128] [--steps 30] [--teacher 56] [--depth 20]
    [--bf16] [--data-root …]

All but the bare loop run through MMEngine's Runner, with its loops and default hooks. MMRazor's
SingleTeacherDistill has its stock settings and MMPretrain's pipeline. DynaKD runs plain (with the
same pipeline), and with `fast='fp32'` and `fast='bf16'` on arrays in memory. The bare loop has the
same switches. The sides take turns of a few iterations; the time to load a batch counts. Before
that, all compute the loss of one batch with the same weights, and the losses must agree. bf16 is
measured where the device has instructions for it, or with `--bf16`.
"""

import argparse
import tempfile
from pathlib import Path

from bare import BareLoop
from common import begin, finish, goal
from networks import PREPROCESSOR, distiller, network
from pairs import COMPILED, Pair, check, measure, options, ours, precisions, speeds
from runners import array_loader, stock_loader

MMRAZOR = "MMRazor's SingleTeacherDistill"
GOALS = dict(fp32=1.1, bf16=2.0)
BARE_GOAL = 0.95


def bare(precision: str) -> str:
    return f'bare PyTorch, {precision}'


def mmrazor(teacher: int, depth: int, checkpoint: str) -> dict:
    return dict(
        type='mmrazor.SingleTeacherDistill',
        architecture=network(depth),
        teacher=network(teacher),
        teacher_ckpt=checkpoint,
        distiller=distiller('mmrazor.'),
        data_preprocessor=dict(PREPROCESSOR),
    )


class Sides(Pair):
    """MMRazor, DynaKD plain and fast, and bare loops."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        super().__init__(args, folder)
        stock = stock_loader(args.images, args.batch, args.data_root)
        arrays = array_loader(args.images, args.batch, args.data_root)
        self.add_runner(MMRAZOR, mmrazor(args.teacher, args.depth, self.checkpoint), stock)
        self.add_ours(None, stock)
        for precision in precisions(args):
            self.add_ours(precision, arrays)
            if precision == COMPILED:
                continue
            self.all[bare(precision)] = BareLoop(
                self.teacher,
                self.student,
                args.batch,
                args.images,
                args.device,
                precision == 'bf16',
            )


def main(argv: list[str] | None = None) -> None:
    args = options(argv, __doc__)
    begin(
        args,
        f'resnet{args.teacher} -> resnet{args.depth}, batch {args.batch}, '
        f'{(args.data_root and "CIFAR-100") or "random images"}',
    )
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(args, Path(folder))
        check(sides.losses(), MMRAZOR)
        times = measure(sides.all, args)
    speeds(times, args.batch)
    whole = {name: value for name, (_, value) in times.items()}
    print(
        f'{ours(None)} / {MMRAZOR}: {whole[MMRAZOR] / whole[ours(None)]:.2f} times the images a '
        'second'
    )
    best = 0.0
    for precision in ('fp32', 'bf16'):
        if ours(precision) in whole:
            ratio = whole[MMRAZOR] / whole[ours(precision)]
            goal(f'{ours(precision)} / {MMRAZOR}, images a second', ratio, '>=', GOALS[precision])
            goal(
                f'{ours(precision)} / {bare(precision)}, images a second',
                whole[bare(precision)] / whole[ours(precision)],
                '>=',
                BARE_GOAL,
            )
            best = max(best, ratio)
    if ours(COMPILED) in whole:
        ratio = whole[MMRAZOR] / whole[ours(COMPILED)]
        print(f'{ours(COMPILED)} / {MMRAZOR}: {ratio:.2f} times the images a second')
        best = max(best, ratio)
    finish(best)


if __name__ == '__main__':
    main()
