"""Keys of a config that would never be read: found before anything is built."""

import inspect
from collections.abc import Iterable, Mapping

from mmengine.config import Config
from mmengine.runner import Runner

from mmdynakd.errors import UserError
from mmdynakd.names import nearest, suggestion

# Read from the config besides the Runner's own arguments: by MMEngine, by its tools, by ours.
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
SHORT = 8  # letters; shorter names are too much alike
NEAR = 0.9


def runner_keys() -> set[str]:
    """The names at the top of a config that are read.

    Examples:
        >>> 'train_cfg' in runner_keys()
        True
    """
    return set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'} | READ


def check_config(cfg: Config) -> None:
    """Check what can be said of a config before anything is built.

    Names at its top are free, but one that is nearly a key of the Runner is a slip.

    Raises:
        UserError: such a name, which would never be read; a section of another type; a count below
            1; no model.

    Examples:
        >>> check_config(Config(dict(model=dict(type='DynaKD'), train_dataloadr={})))
        Traceback (most recent call last):
        mmdynakd.errors.UserError: None: train_dataloadr is never read (did you mean ...
    """
    _check_sections(cfg)
    _check_counts(cfg)
    known = [key for key in runner_keys() if len(key) >= SHORT]
    for name in cfg:
        near = nearest(name, known, NEAR)
        if near and name not in runner_keys() and not str(name).startswith('_'):
            raise UserError(
                f'{cfg.filename}: {name} is never read (did you mean {near!r}?); if the name is '
                f'your own, call it _{name}'
            )
    check_env(cfg.get('env_cfg'), f'{cfg.filename}: env_cfg')


def _check_sections(cfg: Config) -> None:
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


def _check_counts(cfg: Config) -> None:
    for section, keys in COUNTS.items():
        for key in keys:
            value = (cfg.get(section) or {}).get(key, 1)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(
                    f'{cfg.filename}: {section}.{key} must be an integer >= 1, got {value!r}'
                )


def check_options(options: Iterable[str], cfg: Config, source: str) -> None:
    """Check that overrides set only what the config has or what the Runner reads.

    Args:
        options: keys, perhaps with dots.
        cfg: the config before they are merged into it.
        source: of the options, for the message.

    Raises:
        UserError: another key at the top; the message names the nearest.

    Examples:
        >>> check_options(['modl.lr'], Config(dict(model={})), '--cfg-options')
        Traceback (most recent call last):
        mmdynakd.errors.UserError: --cfg-options: modl.lr would never be read: the config has no ...
    """
    known = runner_keys() | set(cfg)
    for option in options:
        name = str(option).partition('.')[0]
        if name not in known:
            raise UserError(
                f'{source}: {option} would never be read: the config has no '
                f'{name!r}{suggestion(name, known)}'
            )


def check_env(env: object, place: str) -> None:
    """Check the keys of ``env_cfg``: MMEngine passes over those that it does not know.

    Args:
        env: the section, or None.
        place: of it, for the message.

    Raises:
        UserError: an unknown key.

    Examples:
        >>> check_env(dict(dist_cfg=dict(backend='gloo')), 'a.py: env_cfg')
    """
    unknown = [key for key in env if key not in ENV] if isinstance(env, Mapping) else []
    if unknown:
        raise UserError(
            f'{place} has an unknown key {unknown[0]!r}{suggestion(unknown[0], ENV)}; known are '
            f'{sorted(ENV)}'
        )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f'{text[:77]}…'
