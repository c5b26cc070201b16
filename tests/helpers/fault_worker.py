"""Two processes of a run with bad images: ``python fault_worker.py FOLDER``."""

import functools
import os
import sys
from pathlib import Path

import torch
from dist_worker import on
from fault_parts import BAD, search
from runs import quick

from mmdynakd.engine.loops import faults
from mmdynakd.launch import run as launch


def search_on(folder: Path, world: int) -> None:
    """Both accumulate two batches of 8; one gets the bad image, before gradients are averaged."""
    folder, texts = folder / f'rank{os.environ["RANK"]}', []
    faults.print_log = lambda text, *_: texts.append(text)
    cfg = search(folder / 'work', [BAD], [3], **{'optim_wrapper.student.accumulative_counts': 2})
    cfg.launcher, cfg.experiment_name = 'pytorch', folder.name
    for loader in (
        cfg.train_dataloader,
        cfg.train_cfg.upper_dataloader,
        cfg.val_dataloader,
        cfg.test_dataloader,
    ):
        loader.batch_size = 8

    def act(runner) -> None:
        runner.train()
        torch.save(
            dict(
                state_dict=runner.model.module.state_dict(),
                skipped=runner.optim_wrapper.skipped,
                texts=texts,
            ),
            folder / 'found.pth',
        )

    with quick():
        launch.run(cfg, act)


if __name__ == '__main__':
    on(2, functools.partial(search_on, Path(sys.argv[1])))
