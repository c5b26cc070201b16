"""The config of the second stage: that of the search, with one lane per candidate and baseline."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmdynakd.old_keys import new_keys
from mmdynakd.registry import HOOKS
from mmdynakd.values import Candidate

Lanes = dict[str, Mapping[str, Any]]


def search_hook(cfg: Config) -> Any | None:
    """Build the hook of a search that collects candidates, as its config says.

    Args:
        cfg: config of a run; its ``custom_imports`` are done.

    Returns:
        The ``CandidateEvaluationHook`` (or what derives from it); None if the config has none.

    Examples:
        >>> hook = dict(type='mmdynakd.CandidateEvaluationHook', num_candidates=2)
        >>> search_hook(Config(dict(custom_hooks=[hook]))).num_candidates
        2
    """
    for entry in cfg.get('custom_hooks') or []:
        if is_search_hook(entry):
            return HOOKS.build({key: value for key, value in entry.items() if key != 'priority'})
    return None


def is_search_hook(entry: Mapping[str, Any]) -> bool:
    """Tell whether a hook's config is that of a ``CandidateEvaluationHook``.

    Examples:
        >>> kinds = ('mmdynakd.CandidateEvaluationHook', 'EMAHook')
        >>> [is_search_hook(dict(type=kind)) for kind in kinds]
        [True, False]
    """
    kind = entry.get('type')
    found = HOOKS.get(kind) if isinstance(kind, str) else kind
    return bool(getattr(found, 'collects_candidates', False))


def baseline_lanes(
    baselines: Mapping[str, Mapping[str, Any]] | None,
    single_teachers: bool,
    teachers: Sequence[str],
) -> Lanes:
    """List the baselines that a search asks for, those of single teachers last.

    Args:
        baselines: lanes by name.
        single_teachers: adds a lane ``only_<teacher>`` (ordinary KD) for each teacher.
        teachers: the names of the teachers.

    Examples:
        >>> list(baseline_lanes({'ce': {'selection': None}}, True, ['strong', 'weak']))
        ['ce', 'only_strong', 'only_weak']
    """
    singles: Lanes = {
        f'only_{teacher}': dict(selection=dict(probs=teacher)) for teacher in teachers
    }
    return {**(baselines or {}), **(singles if single_teachers else {})}


def candidate_lane(searched: Mapping[str, Any], theta: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the settings of the lane that was searched, with θ fixed.

    Examples:
        >>> candidate_lane({'student_loss_weight': 0.1}, {'strong': 0.25, 'weak': 0.75})
        {'student_loss_weight': 0.1, 'selection': {'probs': {'strong': 0.25, 'weak': 0.75}}}
    """
    lane = new_keys(copy.deepcopy(searched))
    lane['selection'] = {
        **(lane.get('selection') or {}),
        'probs': copy.deepcopy(theta),
    }
    return lane


def candidate_lanes(cfg: Config, candidates: Sequence[Candidate]) -> Lanes:
    """Give each candidate a lane, with the settings of the lane that found it.

    Examples:
        >>> cfg = Config(dict(model=dict(lanes=dict(search=dict(student_loss_weight=0.1)))))
        >>> cat1 = Candidate(name='cat1', lane='search', theta=dict(a=1.0))
        >>> candidate_lanes(cfg, [cat1])['cat1']['student_loss_weight']
        0.1
    """
    searched = cfg.model.get('lanes') or {}
    return {
        candidate.name: candidate_lane(searched.get(candidate.lane) or {}, candidate.theta)
        for candidate in candidates
    }


def fixed_config(
    cfg: Config, lanes: Lanes, overrides: Mapping[str, Any], results: Mapping[str, Any]
) -> Config:
    """Turn the config of a search into one that trains ``lanes`` from scratch and searches nothing.

    Args:
        cfg: of the search.
        lanes: ``{name: overrides}``.
        overrides: merged over the config.
        results: arguments of its ``ResultsHook``.

    Examples:
        >>> cfg = Config(dict(model=dict(), train_cfg=dict(max_epochs=20)))
        >>> lanes = dict(ce=dict(selection=None))
        >>> fixed = fixed_config(cfg, lanes, {'train_cfg.max_epochs': 240}, dict(metric='top1'))
        >>> list(fixed.model.lanes), fixed.train_cfg.max_epochs, fixed.custom_hooks[-1].type
        (['ce'], 240, 'mmdynakd.ResultsHook')
    """
    cfg = copy.deepcopy(cfg)
    cfg.model.lanes = copy.deepcopy(dict(lanes))
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if not is_search_hook(hook)]
    cfg.custom_hooks = [*hooks, dict(type='mmdynakd.ResultsHook', **results)]
    cfg.merge_from_dict(copy.deepcopy(dict(overrides)))
    cfg.load_from, cfg.resume = None, False
    return cfg
