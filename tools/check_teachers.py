"""Checks a config's teachers before training: accuracy, calibration, agreement, cost, and the usual
silent failures.

    python tools/check_teachers.py CONFIG [--split val test] [--out FILE.json] [--cfg-options k=v …]

The teachers run as in training: raw pixels of the config's loaders, each under its own
preprocessor. Nothing is selected on test; its accuracy serves one warning (a teacher that has seen
val). Without --split, test is used if the config has a test_dataloader. The table goes to stdout,
progress to stderr; --work-dir keeps teachers.md and .json.
"""

import argparse
import os
import os.path as osp
import sys
import time

from mmdynakd.cli.arguments import add_common_arguments, load_config
from mmdynakd.diagnostics.teachers import run_check
from mmdynakd.diagnostics.tool import run_tool
from mmdynakd.files import write_text
from mmdynakd.report.teachers_table import teachers_table
from mmdynakd.values import write


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser)
    parser.add_argument(
        '--split', nargs='+', choices=['val', 'test'], help='splits to run (val is always run)'
    )
    parser.add_argument('--out', metavar='FILE', help='write the report there, as JSON')
    args = parser.parse_args()
    if args.launcher != 'none':
        parser.error('--launcher: the teachers are checked in one process')
    report = run_check(load_config(args), args.split, Progress)
    table = teachers_table(report)
    print(table, end='')
    places = [(args.work_dir, 'teachers.json')] if args.work_dir else []
    places += [(osp.dirname(osp.abspath(args.out)), osp.basename(args.out))] if args.out else []
    for folder, name in places:
        os.makedirs(folder, exist_ok=True)
        write(folder, name, report)
    if args.work_dir:
        write_text(args.work_dir, 'teachers.md', table)


class Progress:
    """A line on stderr every few seconds: batches done, and the time that is left."""

    def __init__(self, split: str, batches: int, every: float = 5.0) -> None:
        self.split, self.batches, self.every = split, batches, every
        self.start = self.said = time.monotonic()

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self.said < self.every and not (done == self.batches and self.said > self.start):
            return
        self.said = now
        left = (now - self.start) / done * (self.batches - done)
        print(
            f'{self.split}: {done}/{self.batches} batches, {left:.0f} s left',
            file=sys.stderr,
            flush=True,
        )


if __name__ == '__main__':
    run_tool(main)
