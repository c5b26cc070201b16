"""The evaluation's config, tried before the search: hours later would be too late."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, LOOPS, PARAM_SCHEDULERS, Registry
from mmengine.runner import Runner
from torch import nn

from mmdynakd.diagnostics.explain import accepted, explain
from mmdynakd.diagnostics.keys import check_config, check_options
from mmdynakd.entries import expand_schedulers
from mmdynakd.errors import UserError
from mmdynakd.generators import untouched_generators
from mmdynakd.models.unwrap import algorithm_of
from mmdynakd.names import unknown_names
from mmdynakd.registry import MODELS

from .plan import Plan

SOURCE = 'CandidateEvaluationHook.evaluation'
GIVEN = {'type', '_scope_'}  # never arguments


def rehearse(runner: Runner, plan: Plan) -> None:
    """Build what the overrides change of the evaluation, and throw it away.

    The global random generators stay as they are.

    Args:
        runner: of the search.
        plan: of the evaluation, with any candidates and the overrides.

    Raises:
        UserError: a key that nobody would read, or something that cannot be built; the key is
            named.

    Examples:
        The hook of a search calls it before the first step: ``rehearse(runner, plan)``.
    """
    check_options(plan.overrides, runner.cfg, SOURCE)
    try:
        cfg = plan.side_by_side(plan.seeds[0])
    except (TypeError, KeyError, ValueError) as error:  # Config's, of what cannot be merged
        raise UserError(f'{SOURCE} cannot be merged into the config: {error}') from error
    if not plan.overrides:
        return
    try:
        with untouched_generators(), _quiet():
            _build(runner, cfg, set(plan.overrides))
    except Exception as error:  # whatever a constructor raises
        raise UserError(f'{SOURCE}: {explain(error, cfg)}') from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the log: what is built here is not used."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _build(runner: Runner, cfg: Config, changed: set[str]) -> None:
    check_config(cfg)
    algorithm = _model(runner, cfg) if 'model' in changed else algorithm_of(runner)
    if 'optim_wrapper' in changed:
        build_optim_wrapper(algorithm, cfg.optim_wrapper)
    if 'param_scheduler' in changed:
        for schedulers in (expand_schedulers(cfg.param_scheduler, algorithm) or {}).values():
            for scheduler in schedulers if isinstance(schedulers, (list, tuple)) else [schedulers]:
                _check_arguments(
                    'param_scheduler', scheduler, PARAM_SCHEDULERS, {'convert_to_iter_based'}
                )
    for name in changed & {'train_cfg', 'val_cfg', 'test_cfg'}:
        if 'type' in cfg[name]:
            _check_arguments(name, cfg[name], LOOPS, set())
    for name in changed & {'train_dataloader', 'val_dataloader', 'test_dataloader'}:
        runner.build_dataloader(cfg[name], seed=0)
    hooks = [*_values(cfg.get('default_hooks')), *(cfg.get('custom_hooks') or [])]
    for hook in hooks if changed & {'default_hooks', 'custom_hooks'} else ():
        HOOKS.build({key: value for key, value in hook.items() if key != 'priority'})


def _model(runner: Runner, cfg: Config) -> nn.Module:
    """Build the evaluation's model; teachers that the search has loaded are not loaded again."""
    model, before = cfg.model.to_dict(), runner.cfg.model.to_dict()
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    for name, entry in (model.get('teachers') or {}).items():
        if isinstance(entry, dict) and entry == (before.get('teachers') or {}).get(name):
            entry['checkpoint'] = None
    built: nn.Module = MODELS.build(model)
    return built


def _check_arguments(
    place: str, config: Mapping[str, Any], registry: Registry, popped: set[str]
) -> None:
    component = registry.get(config['type'])
    if component is None:
        raise UserError(f'{place}: there is no {config["type"]!r}')
    known = accepted(component)
    unknown = unknown_names(set(config) - GIVEN - popped, known)
    if unknown:
        raise UserError(
            f'{place}: {config["type"]} takes no {unknown}; it takes {", ".join(known)}'
        )


def _values(hooks: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    return [hook for hook in (hooks or {}).values() if isinstance(hook, Mapping)]
