"""The whole method on real data in minutes: scikit-learn's digits, three teachers, search,
evaluation.

    python tools/demo.py [--work-dir DIR]     (or: make demo)

What is in the work dir already is not trained again, what was cut off goes on; delete the folder to
start over.
"""

import argparse
import os.path as osp
import time

from mmengine.config import Config

from mmdynakd.diagnostics.tool import run_tool
from mmdynakd.launch.config import keep_teacher_order
from mmdynakd.launch.run import train

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))
TEACHERS = ('resnet20', 'resnet14', 'resnet8')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--work-dir', default=osp.join('work_dirs', 'demo'), help='default: work_dirs/demo'
    )
    parser.add_argument('--debug', action='store_true', help='show the traceback of every error')
    folder, start = parser.parse_args().work_dir, time.time()
    checkpoints = {name: train_teacher(name, osp.join(folder, name)) for name in TEACHERS}
    distill(checkpoints, osp.join(folder, 'dynakd'))
    report(osp.join(folder, 'dynakd'), time.time() - start)


def train_teacher(name: str, folder: str) -> str:
    """Trains the teacher, unless it is trained; returns its checkpoint."""
    print(f'\n=== teacher {name} ===', flush=True)
    cfg = load(f'teachers/{name}_digits.py', folder)
    train(cfg)
    return osp.join(folder, f'epoch_{cfg.train_cfg.max_epochs}.pth')


def distill(checkpoints: dict[str, str], folder: str) -> None:
    """Search and evaluation."""
    print('\n=== DynaKD: search, then evaluation ===', flush=True)
    cfg = load('dynakd_digits.py', folder)
    for name, checkpoint in checkpoints.items():
        cfg.model.teachers[name].checkpoint = checkpoint
    keep_teacher_order(cfg)
    train(cfg)


def load(name: str, folder: str) -> Config:
    cfg = Config.fromfile(osp.join(ROOT, 'configs', name))
    cfg.work_dir = folder
    return cfg


def report(folder: str, seconds: float) -> None:
    print(f'\nDone in {seconds:.0f} s. Everything is in {folder}:')
    for name, what in (
        ('results.json', 'every lane: val, test, θ, seed, versions'),
        ('candidates.json', 'the distributions that the search found'),
        ('theta.png', 'θ over the search (numbers: theta.csv)'),
        ('student.pth', 'the best student, without teachers; config: student.py'),
    ):
        print(f'  {osp.join(folder, name):45} {what}')


if __name__ == '__main__':
    run_tool(main)
