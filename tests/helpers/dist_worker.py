"""Runs dist_cases on 1, 2 and 4 processes, forked from one that has imported everything.

``python dist_worker.py FOLDER [VARIANT …]`` writes FOLDER/<processes>/<variant>/rank<r>.pth, of
all variants by default.
"""

import functools
import gc
import multiprocessing
import os
import socket
import sys
import traceback
import uuid
from contextlib import suppress
from pathlib import Path

import mmengine.dist as dist
import torch
import torch._decomp.decompositions_for_jvp  # seconds, which every process would spend
from dist_cases import RESUMED, UNEVEN, VARIANTS, WORLDS, dist_config, resumable, searched, worlds
from dist_parts import NoCollective
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.runner import Runner, amp
from runs import CutOff, PowerCutError, quick

from mmdynakd.launch.processes import use_gloo
from mmdynakd.workdir.runs import begin, finish


def variants(folder: Path, names: list[str], world: int) -> None:
    for name in names:
        if world in worlds(name):
            train(searched(folder, name, world), world)


def uneven(folder: Path, world: int) -> None:
    """Loaders that give ranks different numbers of batches: what the error says."""
    for name, sizes in UNEVEN.items():
        cfg = dist_config(folder, folder / name, world, *sizes)
        try:
            train(cfg, world)
        except ValueError as error:
            (folder / f'{name}{os.environ["RANK"]}.txt').write_text(str(error))


def refused(folder: Path, world: int) -> None:
    """Notes which collectives the witness's ``NoCollective`` refuses: draws are made under it."""
    found, tensor = [], torch.zeros(2)
    calls = dict(
        all_reduce=lambda: dist.all_reduce(tensor),
        broadcast=lambda: dist.broadcast(tensor),
        all_gather=lambda: dist.all_gather(tensor),
        objects=lambda: dist.all_gather_object([1]),
        barrier=dist.barrier,
    )
    for name, call in calls.items():
        try:
            with NoCollective():
                call()
        except AssertionError:
            found.append(name)
        else:
            return
    (folder / f'refused{os.environ["RANK"]}.txt').write_text(' '.join(found))


def resumption(folder: Path, case: str, world: int, cut: tuple[int, str] | None) -> None:
    """A run of both stages that is cut off, or goes on."""
    CutOff.planned = cut
    with suppress(PowerCutError):
        train(resumable(folder, case, world), world)


def train(cfg, world: int) -> None:
    """As ``launch.train`` does it, but the process group is kept."""
    if world > 1:
        cfg.launcher = 'pytorch'
        use_gloo(cfg)
    cfg.experiment_name = uuid.uuid4().hex  # MMEngine shares logs between runs of one name
    with quick():
        assert begin(cfg)
        Runner.from_cfg(cfg).train()
        finish(cfg)


def on(world: int, *jobs: functools.partial) -> None:
    """Runs ``jobs``, which take ``world``, on so many processes."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        os.environ.update(
            MASTER_ADDR='127.0.0.1', MASTER_PORT=str(probe.getsockname()[1]), WORLD_SIZE=str(world)
        )
    context = multiprocessing.get_context('fork')
    ranks = [context.Process(target=work, args=(rank, world, jobs)) for rank in range(world)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    if any(rank.exitcode for rank in ranks):
        sys.exit(f'{world} processes ended with {[rank.exitcode for rank in ranks]}')


def work(rank: int, world: int, jobs: tuple) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    try:
        for job in jobs:
            job(world=world)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def allow_amp() -> None:
    """Lets MMEngine's AmpOptimWrapper run on the CPU, where all that it uses works."""
    amp_optimizer_wrapper.is_cuda_available = lambda: True
    autocast = amp.autocast
    # Without the cache: it would sum the gradients of a weight that is used twice in bfloat16.
    amp.autocast = lambda dtype=None: autocast(enabled=dtype != torch.float64, cache_enabled=False)
    if hasattr(torch.amp, 'GradScaler'):  # from torch 2.3 on; before, the CPU has none
        amp_optimizer_wrapper.GradScaler = functools.partial(torch.amp.GradScaler, 'cpu')


def main(folder: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    allow_amp()
    table = functools.partial(variants, folder, names or list(VARIANTS))
    if names:
        [on(world, table) for world in WORLDS]
        return
    train(searched(folder / 'first', 'the paper', 1), 1)  # what it imports late, all have
    gc.freeze()
    whole = functools.partial(resumption, folder, 'whole', cut=None)
    for world in WORLDS:
        cuts = [
            functools.partial(resumption, folder, case, cut=cut)
            for case, (before, _, cut) in RESUMED.items()
            if before == world
        ]
        on(world, table, *cuts, *([whole] if world == 1 else []))
    on(2, functools.partial(uneven, folder), functools.partial(refused, folder))
    for case, (_, after, _) in RESUMED.items():
        on(after, functools.partial(resumption, folder, case, cut=None))


if __name__ == '__main__':
    main(Path(sys.argv[1]), sys.argv[2:])
