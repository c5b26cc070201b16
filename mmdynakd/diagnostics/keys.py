"""Keys of a config that nobody would read: found before anything is built."""

import inspect
from collections.abc import Mapping

from mmengine.config import Config
from mmengine.runner import Runner

from mmdynakd.errors import UserError
from mmdynakd.names import nearest, suggestion

# Read from the config beside the Runner's own arguments: by MMEngine, by its tools' conventions, by
# ours.
READ = {
    'activation_checkpointing',
    'benchmark',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'sync_bn',
}
SECTIONS = (
    'model',
    'train_dataloader',
    'val_dataloader',
    'test_dataloader',
    'train_cfg',
    'val_cfg',
    'test_cfg',
    'optim_wrapper',
    'default_hooks',
    'env_cfg',
    'randomness',
)
LOADER = ('batch_size',)
COUNTS = {
    'train_cfg': ('max_epochs', 'max_iters', 'val_interval'),
    'train_dataloader': LOADER,
    'val_dataloader': LOADER,
    'test_dataloader': LOADER,
}
ENV = {'cudnn_benchmark', 'dist_cfg', 'mp_cfg', 'resource_limit'}
SHORT = 8  # letters; shorter names are too near to each other
NEAR = 0.9


def runner_keys() -> set[str]:
    """The names at the top of a config that are read."""
    return set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'} | READ


def check_config(cfg: Config) -> None:
    """What can be told of a config before anything is built.

    Names at its top are free, but one that is nearly a key of the Runner is a slip.

    Raises:
        UserError: such a name, which would never be read; a section of another type; a count below
            1; no model.
    """
    known = runner_keys()
    for name in SECTIONS:
        if not isinstance(cfg.get(name), (Mapping, type(None))):
            raise UserError(f'{cfg.filename}: {name} must be a dict, got {_shown(cfg[name])}')
    hooks = cfg.get('custom_hooks')
    if hooks is not None and not (
        isinstance(hooks, (list, tuple)) and all(isinstance(h, Mapping) for h in hooks)
    ):
        raise UserError(
            f"{cfg.filename}: custom_hooks must be a list of dict(type='…'), got {_shown(hooks)}"
        )
    if not cfg.get('model'):
        raise UserError(f'{cfg.filename}: there is no model')
    for section, keys in COUNTS.items():
        for key in keys:
            value = (cfg.get(section) or {}).get(key, 1)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(
                    f'{cfg.filename}: {section}.{key} must be an integer >= 1, got {value!r}'
                )
    for name in cfg:
        near = nearest(name, [key for key in known if len(key) >= SHORT], NEAR)
        if name not in known and near and not str(name).startswith('_'):
            raise UserError(
                f'{cfg.filename}: {name} is read by nobody (did you mean {near!r}?); if it is a '
                'name of '
                f'your own, call it _{name}'
            )
    check_env(cfg.get('env_cfg'), f'{cfg.filename}: env_cfg')


def check_options(options: Mapping, cfg: Config, source: str) -> None:
    """Overrides may set what the config has and what the Runner reads.

    Args:
        options: keys with dots, or nested.
        cfg: the config before they are merged into it.
        source: of the options, for the message.

    Raises:
        UserError: another key at the top; the nearest is told.
    """
    known = runner_keys() | set(cfg)
    for option in options:
        name = str(option).partition('.')[0]
        if name not in known:
            raise UserError(
                f'{source}: {option} would be read by nobody: the config has no '
                f'{name!r}{suggestion(name, known)}'
            )


def check_env(env: object, place: str) -> None:
    """MMEngine takes no notice of a key of ``env_cfg`` that it does not know."""
    unknown = [key for key in env if key not in ENV] if isinstance(env, Mapping) else []
    if unknown:
        raise UserError(
            f'{place} has an unknown key {unknown[0]!r}{suggestion(unknown[0], ENV)}; known are '
            f'{sorted(ENV)}'
        )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f'{text[:77]}…'
