"""Runs the benchmarks one after the other and writes docs/performance.md; `make bench`.

    python benchmarks/run_all.py [--only NAME …] [--quick] [--page docs/performance.md]

Each runs in a process of its own. If one fails, the page shows its error, and the results of the
others. `--only` runs some of them and keeps the page's other sections. `--quick` takes small
settings, to try the scripts; its figures mean nothing, and the page says so. gpu runs if torch sees
a CUDA GPU. Let the machine do nothing else meanwhile.
"""

import argparse
import ast
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import torch
from common import environment, progress

HERE = Path(__file__).resolve().parent
SMALL = ['--batch', '8', '--steps', '4']
PAIR = [*SMALL, '--teacher', '14', '--depth', '8', '--images', '128', '--no-compile']
# script: its arguments under --quick
SCRIPTS = dict(
    step_cost=[*SMALL, '--depth', '8', '--teachers', '20', '14', '8'],
    side_by_side=[*SMALL, '--scenarios', 'tiny'],
    upper_step=[*SMALL, '--depth', '8', '--teachers', '14', '8'],
    against_mmrazor=PAIR,
    against_torchdistill=PAIR,
    store=[*SMALL, '--depth', '8', '--teachers', '14'],
    data=['--batches', '4', '--images', '2000'],
    theta_options=['--batch', '8', '--steps', '2', '--depth', '8', '--teachers', '14', '8'],
    growth=[
        *SMALL,
        '--teacher',
        '14',
        '--depth',
        '8',
        '--total',
        '100',
        '--teachers-values',
        '1',
        '2',
        '--lanes-values',
        '1',
        '2',
        '--batch-values',
        '4',
        '8',
    ],
    soak=['--steps', '100', '--batch', '32'],
    gpu=['--batch', '64', '--images', '1280', '--epochs', '2', '--stock-epochs', '1'],
)
FIGURES = dict(
    growth=['growth_teachers.png', 'growth_lanes.png', 'growth_batch.png', 'growth_steps.png']
)
QUICK = 'small settings: no figure to quote'
GOAL = re.compile(r'^goal: (.+): (\S+), wanted (<=|>=) (\S+): (met|not met)$', re.M)
RATIO = re.compile(r'^ratio: (\S+)$', re.M)
HEAD = """# Performance

Written by `make bench`. Each section is what one script of [benchmarks/](../benchmarks) printed.
Both sides of a comparison ran in one process, in turns. Compare the ratios: times depend on the
machine.

| benchmark | goal | measured | wanted | |
|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Section:
    """One script's part of the page."""

    name: str
    text: str

    def rows(self) -> list[list[str]]:
        """Rows for the table at the top: goals, or the ratio, or that the script failed."""
        link = f'[{self.name}](#{self.name})'
        goals = [
            [link, what, value, f'{sign} {bound}', 'small settings' if QUICK in self.text else met]
            for what, value, sign, bound, met in GOAL.findall(self.text)
        ]
        if '\nFailed ' in self.text:
            return [*goals, [link, 'the script failed', '', '', 'not met']]
        ratio = RATIO.findall(self.text)
        return goals or [[link, 'ratio', ratio[-1] if ratio else '', '', '']]


def run(name: str, arguments: list[str]) -> tuple[str, str | None]:
    """Run a script; return what it printed and how it failed. Its stderr is passed on."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / f'{name}.py'), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors='replace',
    )
    errors: list[str] = []
    reader = in_background(process.stderr, errors)
    printed = process.stdout.read()
    code = process.wait()
    reader.join()
    return (
        printed,
        None if code == 0 else f'with exit status {code}: {"".join(errors[-3:]).strip()}',
    )


def in_background(stream: TextIO, lines: list[str]) -> threading.Thread:
    """Read a process's stderr into ``lines``, and pass it on to our own."""

    def read() -> None:
        for line in stream:
            lines.append(line)
            sys.stderr.write(line)
            sys.stderr.flush()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def section(name: str, quick: bool, page: Path) -> Section:
    """Run a script and describe it."""
    arguments = list(SCRIPTS[name]) if quick else []
    figures = FIGURES.get(name, [])
    hidden = ['--out', str(page.parent / 'figures')] if figures else []
    progress(f'--- {name}')
    start = time.monotonic()
    printed, failure = run(name, [*arguments, *hidden])
    what = first_line(HERE / f'{name}.py')
    command = ' '.join(['python', f'benchmarks/{name}.py', *arguments])
    parts = [
        f'## {name}',
        what,
        f'`{command}` ({time.monotonic() - start:.0f} s' + (f', {QUICK}' if quick else '') + ')',
    ]
    where = environment('cuda' if torch.cuda.is_available() else 'cpu')
    parts += (
        [f'```text\n{printed.strip()}\n```']
        if where in printed
        else [where, f'```text\n{printed.strip()}\n```']
    )
    if failure is not None:
        parts.append(f'Failed {failure}'.replace('\n', ' '))
    else:
        parts += [f'![{figure}](figures/{figure})' for figure in figures]
    return Section(name, '\n\n'.join(parts) + '\n')


def first_line(script: Path) -> str:
    """The first line of a script's docstring."""
    return (ast.get_docstring(ast.parse(script.read_text(encoding='utf-8'))) or '').partition('\n')[
        0
    ]


def sections_of(page: Path) -> dict[str, Section]:
    """The sections that a page has already."""
    if not page.exists():
        return {}
    parts = re.split(r'^(?=## )', page.read_text(encoding='utf-8'), flags=re.M)[1:]
    names = [part.split('\n', 1)[0].removeprefix('## ').strip() for part in parts]
    return {name: Section(name, part.rstrip() + '\n') for name, part in zip(names, parts)}


def write(page: Path, sections: dict[str, Section]) -> None:
    """Write the page: the table, then the sections in the order of the scripts."""
    ordered = [sections[name] for name in SCRIPTS if name in sections]
    rows = ''.join(
        '| ' + ' | '.join(cell.replace('|', '/') for cell in row) + ' |\n'
        for own in ordered
        for row in own.rows()
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(HEAD + rows + '\n' + '\n'.join(own.text for own in ordered), encoding='utf-8')


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--only', choices=list(SCRIPTS), nargs='+', help='by default all')
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--page', type=Path, default=HERE.parent / 'docs' / 'performance.md')
    args = parser.parse_args(argv)
    chosen = args.only or [name for name in SCRIPTS if name != 'gpu' or torch.cuda.is_available()]
    sections = sections_of(args.page) if args.only else {}
    for name in chosen:
        sections[name] = section(name, args.quick, args.page)
        write(args.page, sections)  # after each, so that an interruption loses nothing
    failed = [name for name in chosen if '\nFailed ' in sections[name].text]
    print(f'wrote {args.page}' + (f'; failed: {", ".join(failed)}' if failed else ''))
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
