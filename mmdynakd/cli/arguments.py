"""The arguments that commands share."""

import argparse
import os
import os.path as osp

from mmengine.config import Config, DictAction

from mmdynakd.diagnostics.keys import check_config, check_options
from mmdynakd.launch.config import keep_teacher_order, read_config


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir',
        help='where logs, checkpoints and results go (default: work_dirs/<config name>)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, e.g. train_cfg.max_epochs=10',
    )
    parser.add_argument('--debug', action='store_true', help='show the traceback of every error')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace) -> Config:
    """The config file with the command line merged into it.

    Raises:
        UserError: a key that nobody would read; see also ``Config.fromfile``.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config)
    if args.cfg_options:
        check_options(args.cfg_options, cfg, '--cfg-options')
        cfg.merge_from_dict(args.cfg_options)
    check_config(cfg)
    cfg.launcher = args.launcher
    name = osp.splitext(osp.basename(args.config))[0]
    keep_teacher_order(cfg)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or osp.join('work_dirs', name)
    return cfg
