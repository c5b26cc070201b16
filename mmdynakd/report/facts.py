"""What one needs to repeat a run."""
import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version

import torch
from mmengine.dist import get_world_size
from mmengine.runner import Runner
from torch import nn

from mmdynakd.version import __version__

PACKAGES = ('torch', 'torchvision', 'mmengine', 'onedl-mmengine', 'mmpretrain', 'onedl-mmpretrain', 'mmrazor', 'numpy')


def run_facts(runner: Runner, model: nn.Module) -> dict:
    """Seed, epochs, teachers, versions, hardware and the hash of the whole config of a run."""
    return dict(
        teachers=model.ensemble.names,
        seed=runner.seed,
        draw_seed=model.draw_seed,
        epochs=runner.max_epochs,
        iterations=runner.max_iters,
        processes=get_world_size(),
        device=_device(),
        config=runner.cfg.filename,
        config_sha256=hashlib.sha256(runner.cfg.pretty_text.encode()).hexdigest(),
        versions=dict(mmdynakd=__version__, python=platform.python_version(), **_versions()))


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f'CPU ({platform.machine()})'


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
