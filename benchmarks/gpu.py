"""KD and both stages of DynaKD, 240 epochs on a GPU, against the stock path timed in the same run.

    python benchmarks/gpu.py [--data-root …] [--teachers resnet56=… …] [--epochs 240] [--parts kd
    stages] [--profile]

resnet56 -> resnet20 by KD; then configs/dynakd_r56_cifar100.py (the search, and M = 4 candidates as
lanes). Both run with `fast='bf16'` on arrays in memory. The stock path (`fast=None`, MMPretrain's
pipeline) runs for `--stock-epochs` before and after, and its time is scaled. Images a second are
the median over training epochs; minutes are of the whole run, with validation. Without
`--data-root` the images are noise, without `--teachers` the teachers are random: the times are the
same. The ratio is fast / stock, images a second of KD. `--device cpu` rehearses the script on a
CPU; give it few `--images` and `--epochs`.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import torch
from common import arguments, begin, finish, goal, progress, table
from gpu_configs import EPOCHS, EpochTimes, config, distillation, images_per_epoch
from mmengine.runner import Runner
from runners import Iterations, use

NEEDS = (
    'gpu.py needs a CUDA GPU, which torch does not see here; --device cpu rehearses it (see --help)'
)
PARTS = dict(kd=('KD', distillation, 4.0), stages=('both stages', config, 12.0))
FAST = "fast='{}'"


class Utilisation:
    """Mean utilisation of the GPU in percent, read from nvidia-smi once a second.

    None if nvidia-smi says nothing.
    """

    def __enter__(self) -> 'Utilisation':
        self.values: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        command = ['nvidia-smi', '--query-gpu=utilization.gpu', '--format=csv,noheader,nounits']
        while not self._ended.wait(1):
            with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
                self.values.append(
                    float(subprocess.check_output(command, text=True, timeout=5).split()[0])
                )

    @property
    def mean(self) -> float | None:
        return statistics.mean(self.values) if self.values else None


def train(args: argparse.Namespace, part: str, fast, epochs: int, folder: Path) -> dict:
    """Train one run; return images a second by stage, minutes, utilisation and results by lane."""
    name, build, _ = PARTS[part]
    work_dir = folder / f'{part}_{"fast" if fast else "stock"}_{time.monotonic_ns()}'
    progress(f'{name}, {"fast" if fast else "stock"}, {epochs} epochs')
    EpochTimes.taken.clear()
    start = time.perf_counter()
    with Utilisation() as used:
        Runner.from_cfg(build(args, fast, epochs, work_dir)).train()
    speeds = {
        'evaluation' if stage == 'evaluation' else 'first': images_per_epoch(args)
        / statistics.median(times)
        for stage, times in EpochTimes.taken.items()
    }
    results = json.loads((work_dir / 'results.json').read_text(encoding='utf-8'))
    return dict(
        part=part,
        fast=bool(fast),
        epochs=epochs,
        minutes=(time.perf_counter() - start) / 60,
        speeds=speeds,
        used=used.mean,
        accuracy={lane['name']: lane['test']['accuracy/top1'] for lane in results['lanes']},
    )


def compare(args: argparse.Namespace, part: str, fast, folder: Path) -> float:
    """Run stock, fast, stock; return the ratio of their images a second (of the first stage)."""
    name, _, wanted = PARTS[part]
    runs = [
        train(args, part, *setting, folder)
        for setting in ((None, args.stock_epochs), (fast, args.epochs), (None, args.stock_epochs))
    ]
    rows = [
        [
            name,
            args.label if run['fast'] else 'stock',
            run['epochs'],
            *(
                f'{run["speeds"][stage]:.0f}' if stage in run['speeds'] else '-'
                for stage in ('first', 'evaluation')
            ),
            run['minutes'],
            run['minutes'] * EPOCHS / run['epochs'],
            '-' if run['used'] is None else f'{run["used"]:.0f}',
        ]
        for run in runs
    ]
    table(
        [
            '',
            'path',
            'epochs',
            'images/s',
            'images/s of the evaluation',
            'minutes',
            f'minutes scaled to {EPOCHS} epochs',
            'GPU in use, %',
        ],
        rows,
    )
    done = runs[1]
    print(
        'test accuracy: '
        + ', '.join(f'{lane} {value:.2f}' for lane, value in done['accuracy'].items())
    )
    if args.device.startswith('cuda'):
        goal(
            f'{name}, minutes of {EPOCHS} epochs',
            done['minutes'] * EPOCHS / done['epochs'],
            '<=',
            wanted,
        )
    stock = statistics.mean(run['speeds']['first'] for run in (runs[0], runs[2]))
    return done['speeds']['first'] / stock


def profile(args: argparse.Namespace, fast, folder: Path, window: int = 20) -> None:
    """Print what a window of KD's steps spends its time on.

    Also print how often the host waits for the device.
    """
    runner = Runner.from_cfg(distillation(args, fast, 1, folder / 'profile'))
    steps = Iterations(runner)
    cuda = args.device.startswith('cuda')
    for _ in range(5):
        steps.step()
    activities = [torch.profiler.ProfilerActivity.CPU] + [
        torch.profiler.ProfilerActivity.CUDA
    ] * cuda
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(window):
            steps.step()
    key = 'self_device_time_total' if cuda else 'self_cpu_time_total'
    print(profiler.key_averages().table(sort_by=key, row_limit=20))
    if cuda:
        torch.cuda.set_sync_debug_mode('warn')
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            for _ in range(window):
                steps.step()
        torch.cuda.set_sync_debug_mode('default')
        waits = [w for w in caught if 'synchroniz' in str(w.message)]
        print(
            f'host synchronisations: {len(waits)} in {window} steps; from '
            f'{sorted({f"{Path(w.filename).name}:{w.lineno}" for w in waits})}'
        )


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = arguments(__doc__, batch=64, depth=20)
    parser.add_argument('--epochs', type=int, default=EPOCHS)
    parser.add_argument('--stock-epochs', type=int, default=2)
    parser.add_argument('--candidates', type=int, default=4, help='M')
    parser.add_argument('--parts', choices=list(PARTS), nargs='+', default=list(PARTS))
    parser.add_argument('--fast', choices=['fp32', 'bf16'], default='bf16')
    parser.add_argument('--compile', action='store_true', help='torch.compile for the teachers')
    parser.add_argument('--data-root', help='folder of CIFAR-100')
    parser.add_argument(
        '--images', type=int, default=45_000, help='of noise, where there is no --data-root'
    )
    parser.add_argument('--teachers', nargs='*', default=[], metavar='NAME=CHECKPOINT')
    parser.add_argument('--teacher-depth', type=int, help='one depth for all teachers (rehearsals)')
    parser.add_argument('--profile', action='store_true', help='only profile a window of steps')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    if not torch.cuda.is_available() and '--device' not in (sys.argv[1:] if argv is None else argv):
        print(NEEDS, file=sys.stderr)
        sys.exit(2)
    use(args.device)
    fast = (
        dict(
            dtype='bfloat16' if args.fast == 'bf16' else None,
            channels_last=True,
            fold=True,
            compile=True,
        )
        if args.compile
        else args.fast
    )
    args.label = FAST.format(args.fast) + ' compiled' * args.compile
    begin(
        args,
        f'r56 (, r44, r32) -> r{args.depth}, batch {args.batch}, {images_per_epoch(args)} images, '
        f'{args.label}',
    )
    with tempfile.TemporaryDirectory() as folder:
        if args.profile:
            profile(args, fast, Path(folder))
            return
        ratios = {part: compare(args, part, fast, Path(folder)) for part in args.parts}
    for part, ratio in ratios.items():
        print(f'{PARTS[part][0]}: {ratio:.2f} times the images a second of the stock path')
    finish(next(iter(ratios.values())))


if __name__ == '__main__':
    main()
