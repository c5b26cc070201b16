"""What the against_* scripts share: one teacher and student, trained by several frameworks."""

import argparse
import contextlib
import statistics
import sys
import time
from pathlib import Path

import torch
from common import arguments, has_bf16, synchronize, table, turns
from networks import MEAN, STD, batch, built, dynakd, network
from runners import LATE_METRICS, Iterations, runner, use

COMPILED = 'fp32, compiled teacher'
TOLERANCE = dict(fp32=1e-4, bf16=0.05)  # of the loss of one batch, relative


def ours(precision: str | None) -> str:
    return f'DynaKD, fast={precision!r}'


def switch(precision: str | None) -> str | dict | None:
    """The value of ``fast`` after which a side is named."""
    return dict(channels_last=True, fold=True, compile=True) if precision == COMPILED else precision


def single(teacher: int, depth: int, checkpoint: str, fast: str | dict | None) -> dict:
    entry = dict(model=network(teacher), checkpoint=checkpoint)
    return dynakd(dict(teacher=entry), depth, selection=dict(probs='teacher'), fast=fast)


class Pair:
    """A teacher and a student, and the sides that train them (``all``) from the same weights.

    A side's ``step`` takes one iteration and returns the seconds that loading its batch took.
    """

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        use(args.device)
        self.args, self.folder, self.all = args, folder, {}
        self.teacher, self.student = built(network(args.teacher), 1), built(network(args.depth), 2)
        self.checkpoint = str(folder / 'teacher.pth')
        torch.save(dict(state_dict=self.teacher.state_dict()), self.checkpoint)

    def add_runner(self, name: str, model: dict, loader: dict, **options) -> None:
        with contextlib.redirect_stdout(sys.stderr):  # MMEngine tells which checkpoint it loads
            side = Iterations(runner(model, loader, self.folder, **options))
        side.runner.model.architecture.load_state_dict(self.student.state_dict())
        self.all[name] = side

    def add_ours(self, precision: str | None, loader: dict) -> None:
        model = single(self.args.teacher, self.args.depth, self.checkpoint, switch(precision))
        self.add_runner(
            ours(precision), model, loader, default_hooks=LATE_METRICS if precision else None
        )

    def losses(self) -> dict[str, float]:
        """The loss of one batch, by side."""
        data = batch(self.args.batch, 0)
        mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (MEAN, STD))
        labels = torch.cat([sample.gt_label for sample in data['data_samples']]).to(
            self.args.device
        )
        x = ((torch.stack(data['inputs']) - mean) / std).to(
            self.args.device, memory_format=torch.channels_last
        )
        return {
            name: _loss(side.runner.model, data)
            if isinstance(side, Iterations)
            else float(side.loss(x, labels))
            for name, side in self.all.items()
        }


@torch.no_grad()
def _loss(model: torch.nn.Module, data: dict) -> float:
    model.train()  # MMRazor's teacher goes into eval mode by it
    data = model.data_preprocessor(dict(data), training=True)
    total, _ = model.parse_losses(model(**data, mode='loss'))
    return float(sum(total.values()) if isinstance(total, dict) else total)


def check(losses: dict[str, float], reference: str) -> None:
    """Raise RuntimeError unless all sides compute the loss of ``reference``."""
    print(
        'the loss of one batch: '
        + '; '.join(f'{name} {value:.4f}' for name, value in losses.items())
    )
    for name, value in losses.items():
        allowed = TOLERANCE['bf16' if 'bf16' in name else 'fp32']
        if not abs(value - losses[reference]) <= allowed * abs(losses[reference]):
            raise RuntimeError(
                f'{name} does not train what {reference} trains: its loss is {value}, not '
                f'{losses[reference]}'
            )


def measure(sides: dict, args: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Measure the median seconds of loading and of a whole iteration, by side."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for number, names in turns(list(sides), -(-args.steps // args.turn), warmup=1):
        for name in names:
            for _ in range(args.turn):
                start = time.perf_counter()
                loading = sides[name].step()
                synchronize(args.device)
                if number >= 0:
                    taken[name].append((loading, time.perf_counter() - start))
    return {name: tuple(map(statistics.median, zip(*values))) for name, values in taken.items()}


def speeds(times: dict[str, tuple[float, float]], size: int) -> None:
    """Print images a second, and where the time goes."""
    table(
        ['side', 'images/s', 'iteration, ms', 'of it loading, ms'],
        [
            [name, f'{size / whole:.0f}', 1000 * whole, 1000 * loading]
            for name, (loading, whole) in times.items()
        ],
    )


def precisions(args: argparse.Namespace) -> list[str]:
    found = ['fp32']
    if args.compile:
        found.append(COMPILED)
    if args.bf16 or has_bf16(args.device):
        found.append('bf16')
    else:
        print(
            'bf16: not measured, as this processor has no bf16 instructions (--bf16 measures it '
            'nevertheless)'
        )
    return found


def options(argv: list[str] | None, doc: str, workers: int | None = None) -> argparse.Namespace:
    parser = arguments(doc, batch=128, steps=30, depth=20)
    parser.add_argument('--teacher', type=int, default=56, help='its depth')
    parser.add_argument(
        '--turn', type=int, default=3, help='iterations of a side before the next has its turn'
    )
    parser.add_argument(
        '--images', type=int, default=5120, help='images of noise, where there is no --data-root'
    )
    if workers is None:
        parser.add_argument(
            '--data-root', help='folder of CIFAR-100; the bare loop has noise all the same'
        )
    else:
        parser.add_argument(
            '--workers', type=int, default=workers, help="the other side's loading processes"
        )
    parser.add_argument(
        '--no-compile',
        dest='compile',
        action='store_false',
        help='leave out the side whose teacher is compiled (half a minute, a C++ compiler)',
    )
    parser.add_argument(
        '--bf16', action='store_true', help='measure bf16 even without instructions for it'
    )
    return parser.parse_args(argv)
