"""What the scripts here share: turns, medians, goals, and the line that says where a figure was
taken.
"""

import argparse
import contextlib
import datetime
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from mmengine.logging import MMLogger

BF16_FLAGS = ('avx512_bf16', 'amx_bf16', 'avx_ne_convert', 'bf16')  # the last is Arm's
STRIPPED = ('(R)', '(TM)', ' CPU', ' Processor')


def arguments(doc: str, **defaults) -> argparse.ArgumentParser:
    """A parser with the options that all scripts have; ``defaults`` are those of ``batch``,
    ``steps`` and ``depth``.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    helps = dict(batch='images a step', steps='timed steps of each side', depth="the student's")
    for name, value in defaults.items():
        parser.add_argument(
            f'--{name}', type=int, default=value, help=f'{helps[name]} (default {value})'
        )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    return parser


def begin(args: argparse.Namespace, what: str) -> None:
    """Quiets the libraries and prints what is measured and where."""
    quiet()
    print(what)
    print(environment(args.device), flush=True)


def quiet() -> None:
    warnings.filterwarnings('ignore')
    MMLogger.get_instance('mmdynakd_benchmark', log_level='ERROR')


def environment(device: str) -> str:
    """One line: processor, threads, bf16 instructions, graphics card, torch, date."""
    parts = [
        f'{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads',
        'bf16 instructions: ' + (' '.join(bf16_instructions()) or 'none'),
    ]
    if device.startswith('cuda'):
        parts.append(torch.cuda.get_device_name())
    return '; '.join([*parts, f'torch {torch.__version__}', datetime.date.today().isoformat()])


def processor() -> str:
    name = (
        _cpuinfo('model name', 'Model', 'cpu model') or platform.processor() or platform.machine()
    )
    for mark in STRIPPED:
        name = name.replace(mark, '')
    return ' '.join(name.split())


def bf16_instructions() -> list[str]:
    """Flags of this processor that say so, none where it has no such instructions or nobody tells
    (not Linux).
    """
    flags = (_cpuinfo('flags', 'Features') or '').split()
    return [flag for flag in BF16_FLAGS if flag in flags]


def has_bf16(device: str) -> bool:
    return (
        torch.cuda.is_bf16_supported() if device.startswith('cuda') else bool(bf16_instructions())
    )


def _cpuinfo(*keys: str) -> str | None:
    file = Path('/proc/cpuinfo')
    pairs = (
        [line.split(':', 1) for line in file.read_text().splitlines() if ':' in line]
        if file.exists()
        else []
    )
    return next((value.strip() for key, value in pairs if key.strip() in keys), None)


def seconds(action: Callable[[], object], device: str) -> float:
    """Of one call, the device's work included."""
    synchronize(device)
    start = time.perf_counter()
    action()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: str) -> None:
    if device.startswith('cuda'):
        torch.cuda.synchronize()


def turns(names: list[str], rounds: int, warmup: int = 1) -> Iterator[tuple[int, list[str]]]:
    """Rounds in which every side has a turn, each round from another side on; negative ones are for
    warming up.

    So whatever slows the machine down for a while slows down all sides alike.
    """
    start = time.monotonic()
    for number in range(-warmup, rounds):
        shift = number % len(names)
        yield number, names[shift:] + names[:shift]
        progress(
            f'round {number + 1 + warmup} of {rounds + warmup}, {time.monotonic() - start:.0f} s'
        )


def in_turns(
    sides: Mapping[str, Callable[[], object]], rounds: int, device: str, warmup: int = 1
) -> dict[str, list[float]]:
    """Seconds of every step of every side, by side; the warm-up's are left out."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number, names in turns(list(sides), rounds, warmup):
        for name in names:
            value = seconds(sides[name], device)
            if number >= 0:
                taken[name].append(value)
    return taken


def medians(taken: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in taken.items()}


def stratified(values: list[float], groups: list) -> float:
    """Mean of the groups' medians under the groups' frequencies: what a step costs when the cost
    depends on the draw.

    Args:
        values: seconds, one a step.
        groups: what each step drew.
    """
    members: dict = {}
    for value, group in zip(values, groups):
        members.setdefault(group, []).append(value)
    return sum(len(own) * statistics.median(own) for own in members.values()) / len(values)


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def table(head: list[str], rows: list[list]) -> None:
    """Prints a table; floats with two digits."""
    print('\n| ' + ' | '.join(head) + ' |\n' + '|---' * len(head) + '|')
    for row in rows:
        print(
            '| '
            + ' | '.join(f'{cell:.2f}' if isinstance(cell, float) else str(cell) for cell in row)
            + ' |'
        )
    print(flush=True)


def goal(what: str, value: float, sign: str, bound: float) -> bool:
    """Prints a goal beside what was measured, in the form that ``run_all.py`` reads; whether it is
    met.
    """
    met = value <= bound if sign == '<=' else value >= bound
    print(
        f'goal: {what}: {value:.3f}, wanted {sign} {bound:g}: {"met" if met else "not met"}',
        flush=True,
    )
    return met


def finish(ratio: float) -> None:
    print(f'ratio: {ratio:.2f}', flush=True)


def resident(key: str = 'VmRSS') -> float:
    """MiB of this process (Linux), now (``VmRSS``) or at most since :func:`watch_peak` (``VmHWM``)."""
    with open('/proc/self/status') as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key)) / 2**10


def watch_peak() -> None:
    """The high-water mark starts anew, from what the process holds now (Linux)."""
    with contextlib.suppress(OSError), open('/proc/self/clear_refs', 'w') as file:
        file.write('5')
