"""What one needs to repeat a run."""

import hashlib
import json
import platform
from importlib.metadata import PackageNotFoundError, version

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.runner import Runner
from torch import nn

from mmdynakd.values import RunFacts
from mmdynakd.version import __version__

PACKAGES = (
    'torch',
    'torchvision',
    'numpy',
    'mmrazor',
    'mmengine',
    'mmcv-lite',
    'mmcv',
    'mmpretrain',
    'onedl-mmengine',
    'onedl-mmcv',
    'onedl-mmpretrain',
)
OF_A_RUN = {
    'work_dir',
    'experiment_name',
    'resume',
    'load_from',
    'launcher',
    'model_wrapper_cfg',
    'log_level',
}


def run_facts(runner: Runner, model: nn.Module) -> RunFacts:
    """Seed, epochs, teachers, versions, hardware and the hash of the whole config of a run."""
    return RunFacts(
        teachers=tuple(model.ensemble.names),
        seed=runner.seed,
        draw_seed=model.draw_seed,
        epochs=runner.max_epochs,
        iterations=runner.max_iters,
        processes=get_world_size(),
        device=_device(),
        config=runner.cfg.filename,
        config_sha256=config_hash(runner.cfg),
        versions=versions(),
    )


def config_hash(cfg: Config) -> str:
    """SHA-256 of a config without what differs from run to run of the same work (names, folders,
    resuming).
    """
    return hashlib.sha256(json.dumps(of_the_work(cfg), sort_keys=True).encode()).hexdigest()


def of_the_work(cfg: Config) -> dict:
    """A config as JSON has it (NaN and infinity as text), without names, folders and resuming."""
    kept = {key: value for key, value in cfg.to_dict().items() if key not in OF_A_RUN}
    for hook in kept.get('custom_hooks') or []:
        hook.pop('out_dir', None)
    return json.loads(json.dumps(kept, default=repr), parse_constant=str)


def _device() -> str:
    return (
        torch.cuda.get_device_name() if torch.cuda.is_available() else f'CPU ({platform.machine()})'
    )


def versions() -> dict[str, str]:
    """Of this package, Python and what of :data:`PACKAGES` is installed."""
    found = dict(mmdynakd=__version__, python=platform.python_version())
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
