"""One of two processes of a run with bad images: ``python fault_worker.py FOLDER``, with a
launcher's variables.
"""

import os
import sys
from pathlib import Path

import torch
from fault_parts import BAD, search
from runs import quick

from mmdynakd.engine.loops import faults
from mmdynakd.launch import run as launch


def main(folder: Path) -> None:
    """Both accumulate two batches of 8; the training image comes to one of them, before its
    gradients are averaged.
    """
    texts = []
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
    main(Path(sys.argv[1]) / f'rank{os.environ["RANK"]}')
