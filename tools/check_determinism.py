"""Checks that a run which is killed at random moments, and started again, ends as one that is left
alone.

    python tools/check_determinism.py CONFIG [--kills 5] [--seed 0] [--work-dir DIR] [--cfg-options
    k=v …]

Trains twice: make the config short, e.g. --cfg-options train_cfg.max_epochs=3. Says of θ, of every
lane's weights, of optimizers, schedulers and results whether they are equal bit for bit; exits with
1 if anything differs.
"""

import argparse
import copy
import os
import os.path as osp

from mmdynakd.cli.arguments import add_common_arguments, load_config
from mmdynakd.diagnostics.determinism import compare
from mmdynakd.diagnostics.tool import run_tool
from mmdynakd.launch.run import train


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser)
    parser.add_argument('--kills', type=int, default=5, help='default: 5')
    parser.add_argument('--seed', type=int, default=0, help='of the moments; default: 0')
    args = parser.parse_args()
    cfg = load_config(args)
    folder = osp.join(cfg.work_dir, 'determinism')
    os.makedirs(folder, exist_ok=True)

    def train_into(work_dir: str) -> None:
        cfg_of_run = copy.deepcopy(cfg)
        cfg_of_run.work_dir = work_dir
        train(cfg_of_run)

    equal = compare(train_into, folder, args.kills, args.seed)
    for name, same in equal.items():
        print(f'{"equal  " if same else "DIFFERS"}  {name}')
    return 0 if all(equal.values()) else 1


if __name__ == '__main__':
    run_tool(main)
