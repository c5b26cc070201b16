"""Tests a checkpoint: an exported student (student.py student.pth) or any config that MMEngine's
Runner takes.

python tools/test.py CONFIG CHECKPOINT [--work-dir DIR] [--cfg-options k=v …] [--launcher …]
"""

import argparse
import json

from mmdynakd.cli.arguments import add_common_arguments, load_config
from mmdynakd.diagnostics.tool import run_tool
from mmdynakd.launch.run import run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser)
    parser.add_argument('checkpoint', help='weights to test')
    parser.add_argument('--out', metavar='FILE', help='write the metrics there, as JSON')
    args = parser.parse_args()
    cfg = load_config(args)
    cfg.load_from = args.checkpoint
    metrics = {}
    run(cfg, lambda runner: metrics.update(runner.test()))
    if args.out:
        with open(args.out, 'w', encoding='utf-8') as file:
            json.dump(metrics, file, indent=2)


if __name__ == '__main__':
    run_tool(main)
