"""What the options of θ cost in time and memory, in upper and lower steps.

    python benchmarks/theta_options.py [--batch 64] [--steps 5] [--depth 20] [--teachers 56 44 32]

resnet56, 44, 32 -> resnet20 at CIFAR's size. Weights are random: they do not change the cost. Times
are medians of steps taken in turn, one for each option, in one process; ratios are to the paper's
step. Memory is the peak of a process of its own for each option, above what it held before its
first step (Linux; on a GPU: of torch's allocator).
"""

import argparse
import copy
import statistics
import subprocess
import sys
import time

import torch
from mmengine.logging import MMLogger
from mmpretrain.structures import DataSample

import mmdynakd  # noqa: F401
from mmdynakd.engine.optim import BilevelOptimWrapperConstructor
from mmdynakd.registry import MODELS

CLASSES = 100
PAPER = "the paper's"
OPTIONS = {
    PAPER: {},
    "upper_objective='unrolled'": dict(upper_objective='unrolled'),
    'gumbel_temperature=1': dict(selection=dict(gumbel_temperature=1.0)),
    'entropy_weight=0.1, temperature=2': dict(selection=dict(entropy_weight=0.1, temperature=2.0)),
    "granularity='sample'": dict(
        selection=dict(granularity='sample', weight_by_probability='none')
    ),
    'num_classes=100': dict(selection=dict(num_classes=CLASSES, weight_by_probability='none')),
}


def network(depth: int) -> dict:
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='mmdynakd.CifarResNet', depth=depth),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=CLASSES, in_channels=64),
    )


def distiller() -> dict:
    recorders = dict(logits=dict(type='ModuleOutputs', source='head.fc'))
    return dict(
        student_recorders=recorders,
        teacher_recorders=copy.deepcopy(recorders),
        distill_losses=dict(
            loss_kl=dict(type='KLDivergence', tau=4, loss_weight=0.9, teacher_detach=False)
        ),
        loss_forward_mappings=dict(
            loss_kl=dict(
                preds_S=dict(from_student=True, recorder='logits'),
                preds_T=dict(from_student=False, recorder='logits'),
            )
        ),
    )


class Search:
    """One option's model with its optimizers."""

    def __init__(self, options: dict, args: argparse.Namespace) -> None:
        teachers = {f'r{depth}': dict(model=network(depth)) for depth in args.teachers}
        preprocessor = dict(type='mmpretrain.ClsDataPreprocessor', mean=[129.3] * 3, std=[68.2] * 3)
        self.model = (
            MODELS.build(
                dict(
                    type='mmdynakd.DynaKD',
                    architecture=network(args.depth),
                    teachers=teachers,
                    distiller=distiller(),
                    student_loss_weight=0.1,
                    draw_seed=0,
                    data_preprocessor=preprocessor,
                    **options,
                )
            )
            .to(args.device)
            .train()
        )
        self.optim = BilevelOptimWrapperConstructor(
            dict(student=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9)))
        )(self.model)
        self.data = batch(args.batch, 0), batch(args.batch, 1)

    def upper(self) -> None:
        self.model.upper_step(
            *[copy.deepcopy(self.data[0]), self.optim, copy.deepcopy(self.data[1])]
        )

    def lower(self) -> None:
        self.model.train_step(copy.deepcopy(self.data[1]), self.optim)


def batch(size: int, seed: int) -> dict:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (size, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return dict(
        inputs=list(images),
        data_samples=[DataSample().set_gt_label(i % CLASSES) for i in range(size)],
    )


def seconds(action, device: str) -> float:
    start = time.perf_counter()
    action()
    if device == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure_times(args: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Measure the median seconds of an upper and of a lower step by option, in turns."""
    searches = {name: Search(OPTIONS[name], args) for name in dict.fromkeys([PAPER, *args.only])}
    taken = {name: ([], []) for name in searches}
    for step in range(args.steps + 1):
        for name, search in searches.items():
            pair = seconds(search.upper, args.device), seconds(search.lower, args.device)
            if step:  # the first warms up
                for values, value in zip(taken[name], pair):
                    values.append(value)
        print(f'step {step + 1} of {args.steps + 1}', file=sys.stderr, flush=True)
    return {name: tuple(map(statistics.median, values)) for name, values in taken.items()}


def peak(args: argparse.Namespace) -> float:
    """MiB that two upper steps of one option need on top of the model."""
    search = Search(OPTIONS[args.memory_of], args)
    if args.device == 'cuda':
        before = torch.cuda.memory_allocated()
        search.upper()
        search.upper()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with open('/proc/self/clear_refs', 'w') as file:
        file.write('5')  # Linux: the high-water mark starts anew, from what the process holds now
    before = resident('VmRSS')
    search.upper()
    search.upper()
    return resident('VmHWM') - before


def resident(key: str) -> float:
    """MiB of this process: now (``VmRSS``) or at most (``VmHWM``)."""
    with open('/proc/self/status') as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key)) / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--steps', type=int, default=5, help='timed steps an option')
    parser.add_argument('--depth', type=int, default=20, help="the student's")
    parser.add_argument(
        '--teachers', type=int, nargs='+', default=[56, 44, 32], help='their depths'
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--only', choices=list(OPTIONS), nargs='+', default=list(OPTIONS), help='by default all'
    )
    parser.add_argument('--memory-of', choices=list(OPTIONS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    MMLogger.get_instance('mmdynakd_benchmark', log_level='ERROR')
    if args.memory_of:
        print(peak(args))
        return
    times = measure_times(args)
    upper, lower = times[PAPER]
    print(
        f'batch {args.batch}, student resnet{args.depth}, teachers {args.teachers}, {args.device}, '
        f'torch {torch.__version__}, {torch.get_num_threads()} threads\n'
    )
    print(
        "| option | upper step, ms | to the paper's | lower step, ms | to the paper's | upper "
        "step's peak, MiB |"
    )
    print('|---|---|---|---|---|---|')
    for name, (up, low) in times.items():
        command = [sys.executable, __file__, *sys.argv[1:], '--memory-of', name]
        memory = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[
            -1
        ]
        print(
            f'| {name} | {1000 * up:.0f} | {up / upper:.2f} | {1000 * low:.0f} | {low / lower:.2f} '
            '| '
            f'{float(memory):.0f} |'
        )


if __name__ == '__main__':
    main()
