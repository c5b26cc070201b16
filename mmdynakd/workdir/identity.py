"""The identity of a run's work: the settings that make it, and where two of them differ."""

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size

from mmdynakd.values import RunFacts
from mmdynakd.version import __version__

if TYPE_CHECKING:  # every command imports this file, few of them a Runner
    from mmengine.runner import Runner

    from mmdynakd.models.algorithms import DynaKD

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
SHOWN = 8  # differing settings in a message


def run_facts(runner: 'Runner', model: 'DynaKD') -> RunFacts:
    """What one needs to repeat a run: seed, length, teachers, versions, hardware, config hash.

    Args:
        runner: of the run.
        model: its algorithm, without a distributed wrapper.

    Examples:
        In a hook: ``run_facts(runner, algorithm_of(runner)).config_sha256``.
    """
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
    """SHA-256 of :func:`of_the_work`, in hexadecimal digits.

    Examples:
        >>> one, two = Config(dict(lr=0.1, work_dir='a')), Config(dict(lr=0.1, work_dir='b'))
        >>> config_hash(one) == config_hash(two)
        True
    """
    return hashlib.sha256(json.dumps(of_the_work(cfg), sort_keys=True).encode()).hexdigest()


def of_the_work(cfg: Config) -> dict[str, Any]:
    """A config as JSON has it, without what may differ between runs of the same work.

    That is names, folders and resuming. NaN and infinity become text.

    Examples:
        >>> of_the_work(Config(dict(lr=float('inf'), work_dir='somewhere')))
        {'lr': 'Infinity'}
    """
    kept = {key: value for key, value in cfg.to_dict().items() if key not in OF_A_RUN}
    for hook in kept.get('custom_hooks') or []:
        hook.pop('out_dir', None)
    work: dict[str, Any] = as_json(kept)
    return work


def as_json(value: Any) -> Any:
    """A value as it comes back from a JSON file; what JSON lacks becomes text.

    Examples:
        >>> as_json({'size': (3, 3), 'kind': {1}})
        {'size': [3, 3], 'kind': '{1}'}
    """
    return json.loads(json.dumps(value, default=repr), parse_constant=str)


def comparable(cfg: Config) -> dict[str, Any]:
    """The settings that two runs of the same work share; batch sizes count over all processes.

    Examples:
        >>> comparable(Config(dict(val_dataloader=dict(batch_size=8, num_workers=2))))
        {'val_dataloader': {'num_workers': 2}}
    """
    work, world = of_the_work(cfg), get_world_size()
    work.pop('upper_dataloader', None)  # a name in our base configs, read through train_cfg
    for loader in (
        work.get('train_dataloader'),
        (work.get('train_cfg') or {}).get('upper_dataloader'),
    ):
        if loader and isinstance(loader.get('batch_size'), int):
            loader['batch_size'] *= world
    for split in ('val', 'test'):  # scores do not depend on the batch size
        (work.get(f'{split}_dataloader') or {}).pop('batch_size', None)
    return work


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Lines ``key: before, now …`` for the first settings that differ; none where all are equal.

    Examples:
        >>> differences(dict(optimizer=dict(lr=0.1)), dict(optimizer=dict(lr=0.2, nesterov=True)))
        ['optimizer.lr: 0.1, now 0.2', "optimizer.nesterov: 'absent', now True"]
    """
    old, new = _flat(before), _flat(now)
    keys = sorted(key for key in {*old, *new} if old.get(key, _flat) != new.get(key, _flat))
    lines = [
        f'{key}: {old.get(key, "absent")!r}, now {new.get(key, "absent")!r}' for key in keys[:SHOWN]
    ]
    return lines + ([f'and {len(keys) - SHOWN} more'] if len(keys) > SHOWN else [])


def _flat(config: Any, prefix: str = '') -> dict[str, Any]:
    """A nested config as one dict whose keys are paths."""
    if not isinstance(config, (Mapping, list)) or not config:
        return {prefix: config}
    items = config.items() if isinstance(config, Mapping) else enumerate(config)
    return {
        key: value
        for name, child in items
        for key, value in _flat(child, f'{prefix}.{name}' if prefix else str(name)).items()
    }


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f'CPU ({platform.machine()})'


def versions() -> dict[str, str]:
    """Versions of this package, of Python, and of those of :data:`PACKAGES` that are installed.

    Examples:
        >>> versions()['mmdynakd'] == __version__
        True
    """
    found = dict(mmdynakd=__version__, python=platform.python_version())
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
