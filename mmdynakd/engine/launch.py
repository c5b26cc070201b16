"""What the command-line tools share: arguments, the config, the Runner, with or without a GPU."""
import argparse
import contextlib
import datetime
import errno
import os
import os.path as osp
import subprocess
from collections.abc import Callable, Iterator

import torch
import torch.distributed as dist
from mmengine.config import Config, DictAction
from mmengine.dist import init_dist, is_distributed
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from .checkpoints import newest_checkpoint
from .runs import NEWEST, RunError, begin, finish

UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}

GLOO_TIMEOUT = 600  # seconds


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='where logs, checkpoints and results go (default: work_dirs/<config name>)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='override settings of the config, e.g. train_cfg.max_epochs=10')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace) -> Config:
    """The config file with the command line merged into it."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    cfg.launcher = args.launcher
    name = osp.splitext(osp.basename(args.config))[0]
    keep_teacher_order(cfg)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or osp.join('work_dirs', name)
    return cfg


def keep_teacher_order(cfg: Config) -> None:
    """Writes the order of the teachers into the config: MMEngine sorts keys when it dumps one to the work dir."""
    if 'teachers' in cfg.get('model', {}):
        cfg.model.setdefault('teacher_order', list(cfg.model.teachers))


def train(cfg: Config, resume: str | None = None, fresh: bool = False) -> None:
    """Trains what the config says, from where its work dir has got to; see :func:`.runs.begin`."""
    hooks = cfg.setdefault('default_hooks', {})
    checkpoint = hooks.setdefault('checkpoint', dict(type='CheckpointHook', interval=1))
    if checkpoint is not None and checkpoint.get('type') == 'CheckpointHook':
        checkpoint.type = 'mmdynakd.CheckpointHook'  # the same, written whole or not at all
    if cfg.get('resume') and resume is None:
        resume = cfg.get('load_from') or NEWEST
    with connected(cfg):
        if begin(cfg, resume, fresh):
            try:
                built(cfg).train()
                finish(cfg)
            except OSError as error:
                if error.errno in UNWRITABLE:
                    raise RunError(f'{error}. The last good state is left ({newest_checkpoint(cfg)}): make room in '
                                   f'{cfg.work_dir}, then give the same command again') from error
                raise


def run(cfg: Config, action: Callable[[Runner], object]) -> None:
    """Builds the Runner and acts on it."""
    with connected(cfg):
        action(built(cfg))


def built(cfg: Config) -> Runner:
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


@contextlib.contextmanager
def connected(cfg: Config) -> Iterator[None]:
    """Within it the processes of a launcher know one another, with or without a GPU.

    An error is noted where torchrun looks for it. The process group is then left as it is: to close it could mean to
    wait for processes that wait for this one.
    """
    if cfg.get('launcher') in ('pytorch', 'slurm') and not torch.cuda.is_available():
        if cfg.launcher == 'slurm':
            _as_torchrun()
        use_gloo(cfg)
    elif cfg.get('launcher', 'none') != 'none' and not is_distributed():
        init_dist(cfg.launcher, **(cfg.get('env_cfg') or {}).get('dist_cfg', {}))
    try:
        yield
    except Exception as error:
        if 'TORCHELASTIC_ERROR_FILE' in os.environ:
            from torch.distributed.elastic.multiprocessing.errors import get_error_handler
            get_error_handler().record_exception(error)
        raise
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _as_torchrun() -> None:
    """Sets from what srun sets what torchrun would set; MMEngine's own way asks for a GPU."""
    for ours, slurms in dict(RANK='SLURM_PROCID', WORLD_SIZE='SLURM_NTASKS', LOCAL_RANK='SLURM_LOCALID').items():
        os.environ[ours] = os.environ[slurms]
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in os.environ:
        nodes = subprocess.run(['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']], check=True,
                               capture_output=True, text=True)
        os.environ['MASTER_ADDR'] = nodes.stdout.split()[0]


def use_gloo(cfg: Config) -> None:
    """MMEngine's launcher asks for a GPU: without one the group must exist before the Runner, and DDP know none.

    A collective waits ``env_cfg.dist_cfg.timeout`` seconds for the other ranks, 600 by default.
    """
    if cfg.get('sync_bn'):
        raise ValueError(f"sync_bn={cfg.sync_bn!r} is MMEngine's, and torch's SyncBatchNorm runs on GPUs alone: remove "
                         'it, and set model.sync_bn=True')
    if not dist.is_initialized():
        seconds = (cfg.get('env_cfg') or {}).get('dist_cfg', {}).get('timeout', GLOO_TIMEOUT)
        dist.init_process_group('gloo', timeout=datetime.timedelta(seconds=seconds))
    wrapper = cfg.get('model_wrapper_cfg') or dict(  # MMEngine's own defaults
        type='MMDistributedDataParallel', broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False))
    cfg.model_wrapper_cfg = dict(**{k: v for k, v in wrapper.items() if k != 'device_ids'}, device_ids=None)
