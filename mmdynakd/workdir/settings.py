"""Whether two runs are of the same work: what of their configs counts, and where they differ."""

from typing import Any

from mmengine.config import Config
from mmengine.dist import get_world_size

from .identity import of_the_work

SHOWN = 8  # differing settings in a message


def comparable(cfg: Config) -> dict:
    """What two runs of the same work share: batches count over all processes."""
    work, world = of_the_work(cfg), get_world_size()
    work.pop('upper_dataloader', None)  # of our base configs, for train_cfg
    for loader in (
        work.get('train_dataloader'),
        (work.get('train_cfg') or {}).get('upper_dataloader'),
    ):
        if loader and isinstance(loader.get('batch_size'), int):
            loader['batch_size'] *= world
    for split in ('val', 'test'):
        (work.get(f'{split}_dataloader') or {}).pop(
            'batch_size', None
        )  # scores do not depend on it
    return work


def differences(before: dict, now: dict) -> list[str]:
    """Lines ``key: before, now …``, the first few; none where both are equal."""
    old, new = _flat(before), _flat(now)
    keys = sorted(key for key in {*old, *new} if old.get(key, _flat) != new.get(key, _flat))
    lines = [
        f'{key}: {old.get(key, "absent")!r}, now {new.get(key, "absent")!r}' for key in keys[:SHOWN]
    ]
    return lines + ([f'and {len(keys) - SHOWN} more'] if len(keys) > SHOWN else [])


def _flat(config: Any, prefix: str = '') -> dict[str, Any]:
    if not isinstance(config, (dict, list)) or not config:
        return {prefix: config}
    items = config.items() if isinstance(config, dict) else enumerate(config)
    return {
        key: value
        for name, child in items
        for key, value in _flat(child, f'{prefix}.{name}' if prefix else str(name)).items()
    }
