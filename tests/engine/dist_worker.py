"""Runs the table of dist_cases on 1, 2 and 4 processes, which are forked from one that has imported everything.

    python dist_worker.py FOLDER     writes FOLDER/<processes>/<variant>/rank<r>.pth
"""
import functools
import multiprocessing
import os
import sys
import traceback
from pathlib import Path

import torch
import torch._decomp.decompositions_for_jvp  # noqa: F401  # seconds, which else every process would spend
import torch.distributed as dist
from dist_cases import VARIANTS, dist_config
from mmengine.optim.optimizer import amp_optimizer_wrapper
from runs import run

from mmdynakd.engine.launch import use_gloo

WORLDS = (1, 2, 4)


def searched(folder: Path, variant: str, world: int):
    """A search of ten steps in float64, without evaluation; the last of five batches has 5 of 69 samples."""
    cfg = dist_config(folder, folder / str(world) / variant, world, train=69, others=55)
    cfg.model.type = 'DoubleDynaKD'
    del cfg.custom_hooks[0]
    for key in ('val_cfg', 'val_dataloader', 'val_evaluator', 'test_cfg', 'test_dataloader', 'test_evaluator'):
        cfg[key] = None
    cfg.default_hooks.checkpoint = None
    options = dict(VARIANTS[variant])
    if 'model.distiller' in options:
        cfg.model.distiller = options.pop('model.distiller')
    cfg.merge_from_dict(options)
    return cfg


def work(folder: Path, rank: int, world: int, failed) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world))
    torch.set_num_threads(1)
    try:
        for variant in (sys.argv[2:] or VARIANTS):
            cfg = searched(folder, variant, world)
            if world > 1:
                cfg.launcher = 'pytorch'
                use_gloo(cfg)
            run(cfg)
    except BaseException:
        traceback.print_exc()
        failed.set()
        os._exit(1)


def allow_amp() -> None:
    """MMEngine wants a GPU for AmpOptimWrapper; all that it then uses works on the CPU, in bfloat16."""
    amp_optimizer_wrapper.is_cuda_available = lambda: True
    if hasattr(torch.amp, 'GradScaler'):  # before torch 2.3 a CPU has none: torch's own is disabled without a GPU
        amp_optimizer_wrapper.GradScaler = functools.partial(torch.amp.GradScaler, 'cpu')


def main(folder: Path) -> None:
    allow_amp()
    context = multiprocessing.get_context('fork')
    failed = context.Event()
    for world in WORLDS:
        os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT='29511')
        ranks = [context.Process(target=work, args=(folder, rank, world, failed)) for rank in range(world)]
        for rank in ranks:
            rank.start()
        for rank in ranks:
            rank.join()
        if failed.is_set():
            sys.exit(1)


if __name__ == '__main__':
    main(Path(sys.argv[1]))
