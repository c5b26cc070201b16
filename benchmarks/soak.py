"""A long search in tiny steps: memory, open files, threads, time and checkpoints do not grow.

    python benchmarks/soak.py [--steps 20000] [--batch 4]

A whole run as `mmdynakd train` does it, through MMEngine's Runner: theta and student learn in every
step, from two teachers, with validation, checkpoints, logs and the observation of theta; then its
evaluation. Metrics keep 500 values each, so that the bound is reached on the way. Checkpoints are
weighed without theta's curve, which has at most 1000 points and fills over a whole search. The
table has ten rows. The ratio is resident memory after all steps to that after the first tenth.
(Linux)
"""

import io
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import ClassVar

import torch
from common import arguments, begin, finish, goal, progress, resident, table
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmpretrain.registry import MODELS
from networks import dynakd
from runners import dataset
from torch import nn

from mmdynakd.engine.hooks.search_course import STATE
from mmdynakd.launch.run import train
from mmdynakd.safe_load import read_checkpoint
from mmdynakd.workdir.checkpoints import newest_checkpoint

IMAGES, ROWS, HISTORY = 64, 10, 500
ALLOWED = 1.02
MEMORY, FILES, THREADS = 'resident, MiB', 'open files', 'threads'


@MODELS.register_module(force=True)
class OneConv(nn.Module):
    """A backbone whose step costs little more than what surrounds it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.conv(x).relu(),)


@HOOKS.register_module(force=True)
class Watch(Hook):
    """Notes a row after each tenth of the search."""

    priority = 'LOWEST'
    rows: ClassVar[list[dict]] = []

    def before_train(self, runner) -> None:
        self.searches, self.times = bool(runner.model.searched), []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.begun = time.perf_counter()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.times.append(time.perf_counter() - self.begun)
        done, size = runner.iter + 1, max(1, runner.max_iters // ROWS)
        if self.searches and done % size == 0:
            self.rows.append(
                {
                    'steps': done,
                    MEMORY: resident(),
                    FILES: len(os.listdir('/proc/self/fd')),
                    THREADS: len(os.listdir('/proc/self/task')),
                    'step, ms': 1000 * statistics.median(self.times),
                    'checkpoint, MiB': saved_size(runner.cfg) / 2**20,
                }
            )
            self.times.clear()
            progress(f'{done} of {runner.max_iters} steps: {self.rows[-1][MEMORY]:.0f} MiB')


def saved_size(cfg: Config) -> int:
    """Bytes of the newest checkpoint without theta's curve; 0 if there is none yet."""
    path = newest_checkpoint(cfg)
    if path is None:
        return 0
    checkpoint, file = read_checkpoint(Path(path)), io.BytesIO()
    checkpoint[STATE].pop('history')
    torch.save(checkpoint, file)
    return file.tell()


def tiny() -> dict:
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='mmpretrain.OneConv'),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=100, in_channels=8),
    )


def config(steps: int, batch: int, folder: str) -> Config:
    def loader(shuffle: bool) -> dict:
        return dict(
            batch_size=batch,
            num_workers=0,
            persistent_workers=False,
            collate_fn=dict(type='default_collate'),
            dataset=dataset(
                IMAGES, None, [dict(type='RandomFlip', prob=0.5), dict(type='PackInputs')]
            ),
            sampler=dict(type='DefaultSampler', shuffle=shuffle),
        )

    epochs = -(-steps // -(-IMAGES // batch))
    model = dynakd({name: dict(model=tiny()) for name in 'ab'}, 8)
    model['architecture'] = tiny()
    plain = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
    return Config(
        dict(
            model=model,
            work_dir=folder,
            experiment_name='soak',
            train_dataloader=loader(True),
            train_cfg=dict(
                type='mmdynakd.BilevelTrainLoop',
                max_epochs=epochs,
                val_interval=max(1, epochs // 100),
                upper_dataloader=loader(True),
            ),
            val_dataloader=loader(False),
            val_cfg=dict(type='mmdynakd.LaneValLoop'),
            val_evaluator=dict(type='mmpretrain.Accuracy'),
            test_dataloader=loader(False),
            test_cfg=dict(type='mmdynakd.LaneTestLoop'),
            test_evaluator=dict(type='mmpretrain.Accuracy'),
            optim_wrapper=dict(
                constructor='mmdynakd.BilevelOptimWrapperConstructor', student=plain
            ),
            default_hooks=dict(
                runtime_info=dict(type='mmdynakd.RuntimeInfoHook', history=HISTORY),
                checkpoint=dict(
                    type='CheckpointHook', interval=max(1, epochs // 100), max_keep_ckpts=2
                ),
            ),
            custom_hooks=[
                dict(
                    type='mmdynakd.CandidateEvaluationHook',
                    num_candidates=2,
                    evaluation=dict(train_cfg=dict(max_epochs=1)),
                ),
                dict(type='Watch'),
            ],
            randomness=dict(seed=0),
            default_scope='mmpretrain',
            log_level='ERROR',
        )
    )


def main(argv: list[str] | None = None) -> None:
    args = arguments(__doc__, steps=20_000, batch=4).parse_args(argv)
    begin(args, f'a search of {args.steps} steps, batch {args.batch}, one convolution')
    Watch.rows.clear()
    with tempfile.TemporaryDirectory() as folder:
        train(config(args.steps, args.batch, folder))
        assert Path(folder, 'results.json').exists()
    rows = Watch.rows
    table(list(rows[0]), [list(row.values()) for row in rows])
    first, last = rows[0], rows[-1]
    ratio = last[MEMORY] / first[MEMORY]
    goal('resident memory after all steps to that after a tenth', ratio, '<=', ALLOWED)
    goal('open files more after all steps than after a tenth', last[FILES] - first[FILES], '<=', 0)
    goal('threads more after all steps than after a tenth', last[THREADS] - first[THREADS], '<=', 0)
    halves = [
        statistics.median(row['step, ms'] for row in half)
        for half in (rows[: ROWS // 2], rows[ROWS // 2 :])
    ]
    goal('time of a step in the last half to that in the first', halves[1] / halves[0], '<=', 1.05)
    goal(
        'size of a checkpoint after all steps to that after half',
        last['checkpoint, MiB'] / rows[ROWS // 2]['checkpoint, MiB'],
        '<=',
        1.02,
    )
    finish(ratio)


if __name__ == '__main__':
    main()
