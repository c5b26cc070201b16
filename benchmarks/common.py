"""What the scripts share: turns, medians, goals, and a line about the machine."""

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
    """Make a parser with the options that all scripts have.

    ``defaults`` gives the defaults of ``batch``, ``steps`` and ``depth``.
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
    """Quiet the libraries, and print what is measured on which machine."""
    quiet()
    print(what)
    print(environment(args.device), flush=True)


def quiet() -> None:
    warnings.filterwarnings('ignore')
    MMLogger.get_instance('mmdynakd_benchmark', log_level='ERROR')


def environment(device: str) -> str:
    """Describe in one line: processor, threads, bf16 instructions, graphics card, torch, date."""
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
    """List the flags of this processor that mean bf16 instructions.

    The list is empty if there are none, or if the system does not say (anything but Linux).
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
    """Time one call, including the device's work."""
    synchronize(device)
    start = time.perf_counter()
    action()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: str) -> None:
    if device.startswith('cuda'):
        torch.cuda.synchronize()


def turns(names: list[str], rounds: int, warmup: int = 1) -> Iterator[tuple[int, list[str]]]:
    """Yield the order of sides for each round; each round starts with another side.

    Whatever slows the machine down for a while then slows down all sides alike. Rounds of negative
    number warm up.
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
    """Time every step of every side, in seconds by side; leave out the warm-up."""
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
    """Average the medians of groups, weighted by how often each group occurs.

    This is what a step costs when its cost depends on the draw.

    Args:
        values: seconds, one for each step.
        groups: what each step drew.
    """
    members: dict = {}
    for value, group in zip(values, groups):
        members.setdefault(group, []).append(value)
    return sum(len(own) * statistics.median(own) for own in members.values()) / len(values)


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def table(head: list[str], rows: list[list]) -> None:
    """Print a table; floats have two digits."""
    print('\n| ' + ' | '.join(head) + ' |\n' + '|---' * len(head) + '|')
    for row in rows:
        print(
            '| '
            + ' | '.join(f'{cell:.2f}' if isinstance(cell, float) else str(cell) for cell in row)
            + ' |'
        )
    print(flush=True)


def goal(what: str, value: float, sign: str, bound: float) -> bool:
    """Print a goal beside what was measured, in the form that ``run_all.py`` reads.

    Returns:
        Whether the goal is met.
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
    """MiB of this process (Linux).

    ``VmRSS`` is what it holds now; ``VmHWM`` is the most it held since :func:`watch_peak`.
    """
    with open('/proc/self/status') as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key)) / 2**10


def watch_peak() -> None:
    """Reset the high-water mark to what the process holds now (Linux)."""
    with contextlib.suppress(OSError), open('/proc/self/clear_refs', 'w') as file:
        file.write('5')
