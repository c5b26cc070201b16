"""How time and memory of a step grow with teachers, lanes and batch, and not with the steps.

    python benchmarks/growth.py [--batch 64] [--steps 4] [--depth 20] [--teacher 32] [--total 1000]

All teachers have the same depth, so that only n varies; theta is uniform. Each point is a process
of its own. Memory is the peak over the steps minus what the process held before the model was built
(on a GPU: of torch's allocator). `steps` is a search through MMEngine's Runner in tiny steps, some
of them upper ones: resident memory, open files and time of a step after each tenth. Writes
growth_{teachers,lanes,batch,steps}.png to `--out`. The ratio is resident memory after all steps to
that after the first tenth. (Linux)
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from common import (
    arguments,
    begin,
    finish,
    goal,
    progress,
    quiet,
    resident,
    seconds,
    table,
    watch_peak,
)
from networks import Steps, batch, dynakd, network

SWEEPS = dict(teachers=[1, 2, 3, 4, 6, 8], lanes=[1, 2, 4, 6, 8], batch=[32, 64, 128, 256, 512])
AXES = dict(teachers='teachers n', lanes='lanes M', batch='images a step')
LIBRARIES = ['mmdynakd.models', 'mmdynakd.engine', 'mmrazor.models', 'mmpretrain.models']
ALLOWED = 1.02


@dataclass(frozen=True)
class Point:
    """One process: what is built, and how many steps it takes."""

    teachers: int
    lanes: int
    batch: int
    teacher: int
    depth: int
    steps: int
    device: str
    threads: int
    labels_only: bool = False


def measure(point: Point) -> dict:
    """Measure one point, in a process of its own.

    Returns:
        The median seconds of a step, the peak in MiB, and the MiB of the weights of teachers and
        lanes.
    """
    quiet()
    torch.set_num_threads(point.threads)
    data = batch(point.batch, 0)
    before = _held(point.device)
    own = dict(selection=None) if point.labels_only else dict(selection=dict(probs='uniform'))
    teachers = {f't{i}': dict(model=network(point.teacher)) for i in range(point.teachers)}
    side = Steps(
        dynakd(teachers, point.depth, lanes={f'c{i}': own for i in range(point.lanes)}),
        point.device,
    )
    if not point.labels_only:  # whoever is drawn, every teacher has run once
        side.model.ensemble.run(
            side.model.ensemble.names, torch.stack(data['inputs']).to(point.device)
        )
    watch_peak()
    times = [seconds(lambda: side.lower(data), point.device) for _ in range(point.steps + 1)][1:]
    return dict(
        ms=1000 * statistics.median(times),
        peak=_peak(point.device) - before,
        teachers=_mebibytes(side.model.ensemble.networks.values()),
        students=_mebibytes([side.model.lanes]),
    )


def _held(device: str) -> float:
    return torch.cuda.memory_allocated() / 2**20 if device.startswith('cuda') else resident()


def _peak(device: str) -> float:
    return (
        torch.cuda.max_memory_allocated() / 2**20
        if device.startswith('cuda')
        else resident('VmHWM')
    )


def _mebibytes(modules) -> float:
    """MiB of all parameters and buffers, each counted once, whatever holds it."""
    tensors = {
        t.data_ptr(): t.numel() * t.element_size()
        for m in modules
        for t in (*m.parameters(), *m.buffers())
    }
    return sum(tensors.values()) / 2**20


def many_steps(total: int, device: str, threads: int) -> list[dict]:
    """Run a search of ``total`` lower steps by the Runner.

    Returns:
        Resident MiB, open files and median milliseconds of a step, for each tenth.
    """
    from runners import Iterations, runner, stock_loader, use

    quiet()
    torch.set_num_threads(threads)
    use(device)
    tenths, size = [], max(1, total // 10)
    with tempfile.TemporaryDirectory() as folder:
        loader = stock_loader(64, 8)
        loop = dict(
            type='mmdynakd.BilevelTrainLoop', max_epochs=10**6, upper_dataloader=stock_loader(32, 8)
        )
        run = Iterations(runner(dynakd([14, 8], 8), loader, Path(folder), loop))
        run.step()
        for _ in range(10):
            times = [seconds(run.step, device) for _ in range(size)]
            tenths.append(
                dict(
                    steps=run.runner.iter - 1,
                    rss=resident(),
                    files=len(os.listdir('/proc/self/fd')),
                    ms=1000 * statistics.median(times),
                )
            )
    return tenths


def sweep(name: str, values: list[int], base: dict, pool) -> list[dict]:
    points = []
    for value in values:
        points.append(pool.apply(measure, [Point(**{**base, name: value})]))
        progress(f'{name} {value}: {points[-1]["ms"]:.0f} ms, {points[-1]["peak"]:.0f} MiB')
    table(
        [AXES[name], 'step, ms', 'peak, MiB', "teachers' weights, MiB", "students' weights, MiB"],
        [
            [value, point['ms'], point['peak'], point['teachers'], point['students']]
            for value, point in zip(values, points)
        ],
    )
    return points


def sharing(lanes: list[int], points: list[dict], base: dict, pool) -> None:
    """Print what further lanes hold besides their students; they share the first one's teachers."""
    few, many = lanes[0], lanes[-1]
    alone = [
        pool.apply(measure, [Point(**{**base, 'lanes': value, 'labels_only': True})])
        for value in (few, many)
    ]
    more, students = (pair[-1]['peak'] - pair[0]['peak'] for pair in (points, alone))
    print(
        f'{many} lanes hold {more:.0f} MiB more than {few}; students without teachers '
        f'{students:.0f} MiB more; so '
        f'{more - students:.0f} MiB are due to teaching (logits and losses), where a further '
        'ensemble would hold '
        f'{points[0]["teachers"]:.1f} MiB of weights each; weights of teachers held: '
        f'{points[0]["teachers"]:.1f} MiB '
        f'and {points[-1]["teachers"]:.1f} MiB'
    )


def draw(out: Path, name: str, axis: str, x: list, series: dict[str, list[float]]) -> None:
    """Draw one figure: a panel for each quantity, with axes from 0."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(
        1, len(series), figsize=(4 * len(series), 3), layout='constrained'
    )
    for panel, (label, values) in zip(panels, series.items()):
        panel.plot(x, values, marker='o')
        panel.set(xlabel=axis, ylabel=label, ylim=(0, 1.1 * max(values)))
    figure.savefig(out / f'growth_{name}.png', dpi=120)
    plt.close(figure)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = arguments(__doc__, batch=64, steps=4, depth=20)
    for name, values in SWEEPS.items():
        parser.add_argument(
            f'--{name}-values', type=int, nargs='*', default=values, help=f'by default {values}'
        )
    parser.add_argument('--teacher', type=int, default=32, help="the teachers' depth")
    parser.add_argument('--total', type=int, default=1000, help='steps of the long run')
    parser.add_argument(
        '--out', type=Path, default=Path('docs/figures'), help='folder of the figures'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    begin(
        args,
        f'3 teachers resnet{args.teacher} -> resnet{args.depth}, batch {args.batch}, '
        'but for what varies',
    )
    args.out.mkdir(parents=True, exist_ok=True)
    # Its processes share only what is imported.
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(LIBRARIES)
    base = dict(
        teachers=3,
        lanes=1,
        batch=args.batch,
        teacher=args.teacher,
        depth=args.depth,
        steps=args.steps,
        device=args.device,
        threads=torch.get_num_threads(),
    )
    with context.Pool(1, maxtasksperchild=1) as pool:
        for name in SWEEPS:
            values = getattr(args, f'{name}_values')
            if values:
                points = sweep(name, values, base, pool)
                draw(
                    args.out,
                    name,
                    AXES[name],
                    values,
                    {
                        'step, ms': [point['ms'] for point in points],
                        'peak, MiB': [point['peak'] for point in points],
                    },
                )
            if values and name == 'lanes':
                sharing(values, points, base, pool)
        tenths = pool.apply(many_steps, [args.total, args.device, base['threads']])
    table(
        ['steps', 'resident, MiB', 'open files', 'step, ms'],
        [list(tenth.values()) for tenth in tenths],
    )
    draw(
        args.out,
        'steps',
        'steps',
        [tenth['steps'] for tenth in tenths],
        {
            'resident, MiB': [tenth['rss'] for tenth in tenths],
            'step, ms': [tenth['ms'] for tenth in tenths],
        },
    )
    ratio = tenths[-1]['rss'] / tenths[0]['rss']
    more = (
        2**10 * (tenths[-1]['rss'] - tenths[0]['rss']) / (tenths[-1]['steps'] - tenths[0]['steps'])
    )
    print(f'resident memory grew by {more:.1f} KiB a step after the first tenth')
    goal('resident memory after all steps to that after a tenth', ratio, '<=', ALLOWED)
    goal(
        'open files more after all steps than after a tenth',
        tenths[-1]['files'] - tenths[0]['files'],
        '<=',
        0,
    )
    goal(
        'time of a step in the last half to that in the first',
        statistics.mean(t['ms'] for t in tenths[5:]) / statistics.mean(t['ms'] for t in tenths[:5]),
        '<=',
        1.05,
    )
    finish(ratio)


if __name__ == '__main__':
    main()
