"""The processes of a run: joined by a launcher, with or without a GPU."""

import contextlib
import datetime
import os
import subprocess
from collections.abc import Iterator

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.dist import init_dist, is_distributed

from mmdynakd.errors import UserError

GLOO_TIMEOUT = 600  # seconds


@contextlib.contextmanager
def connected(cfg: Config) -> Iterator[None]:
    """Within it the processes of a launcher know one another, with or without a GPU.

    An error is noted where torchrun looks for it. The process group is then left as it is: closing
    it could mean waiting for processes that wait for this one.

    Args:
        cfg: with its ``launcher``; on a CPU, its ``model_wrapper_cfg`` is set.

    Examples:
        >>> with connected(Config(dict(launcher='none'))):
        ...     is_distributed()
        False
    """
    within = dist.is_available() and dist.is_initialized()  # another run of these processes
    launcher = cfg.get('launcher', 'none')
    if launcher in ('pytorch', 'slurm') and not torch.cuda.is_available():
        if launcher == 'slurm':
            _as_torchrun()
        use_gloo(cfg)
    elif launcher != 'none' and not is_distributed():
        init_dist(launcher, **(cfg.get('env_cfg') or {}).get('dist_cfg', {}))
    try:
        yield
    except Exception as error:
        if 'TORCHELASTIC_ERROR_FILE' in os.environ:
            from torch.distributed.elastic.multiprocessing.errors import get_error_handler

            get_error_handler().record_exception(error)
        raise
    if not within and dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _as_torchrun() -> None:
    """Sets from srun's variables those of torchrun; MMEngine's own way asks for a GPU."""
    for ours, slurms in dict(
        RANK='SLURM_PROCID', WORLD_SIZE='SLURM_NTASKS', LOCAL_RANK='SLURM_LOCALID'
    ).items():
        os.environ[ours] = os.environ[slurms]
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in os.environ:
        nodes = subprocess.run(
            ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']],
            check=True,
            capture_output=True,
            text=True,
        )
        os.environ['MASTER_ADDR'] = nodes.stdout.split()[0]


def use_gloo(cfg: Config) -> None:
    """Join the processes over gloo, on machines without a GPU.

    MMEngine's launcher asks for a GPU. Without one the process group must exist before the Runner,
    and DDP must be given no device.

    Args:
        cfg: a collective waits ``env_cfg.dist_cfg.timeout`` seconds for the other ranks, 600 by
            default; ``model_wrapper_cfg`` is set.

    Raises:
        UserError: MMEngine's ``sync_bn`` is set, which runs on GPUs only.

    Examples:
        >>> use_gloo(Config(dict(sync_bn='torch')))
        Traceback (most recent call last):
        mmdynakd.errors.UserError: sync_bn='torch' is MMEngine's, and torch's SyncBatchNorm ...
    """
    if cfg.get('sync_bn'):
        raise UserError(
            f"sync_bn={cfg.sync_bn!r} is MMEngine's, and torch's SyncBatchNorm runs on GPUs only: "
            'remove it, and set model.sync_bn=True'
        )
    if not dist.is_initialized():
        seconds = (cfg.get('env_cfg') or {}).get('dist_cfg', {}).get('timeout', GLOO_TIMEOUT)
        dist.init_process_group('gloo', timeout=datetime.timedelta(seconds=seconds))
    wrapper = cfg.get('model_wrapper_cfg') or dict(  # MMEngine's own defaults
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.model_wrapper_cfg = {**wrapper, 'device_ids': None}
