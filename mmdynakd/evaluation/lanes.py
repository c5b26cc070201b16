"""The config of the evaluation stage: that of the search, with one lane a candidate and a baseline."""

import copy
import os.path as osp
from collections.abc import Mapping, Sequence

from mmengine.config import Config
from mmengine.runner import Runner

FOLDER = 'evaluation'


def evaluation_config(
    runner: Runner,
    candidates: list[dict],
    baselines: Mapping[str, Mapping],
    overrides: Mapping,
    metric: str,
) -> Config:
    """Config of the Runner that trains every candidate's student from scratch, side by side.

    Args:
        runner: of the search.
        candidates: with ``name`` and ``theta`` by teacher.
        baselines: lanes beside them.
        overrides: merged over the config, e.g. ``dict(train_cfg=dict(max_epochs=240))``.
        metric: chooses among the candidates on the validation split.
    """
    results = dict(
        candidates=[c['name'] for c in candidates], metric=metric, out_dir=runner.work_dir
    )
    cfg = fixed_config(
        runner.cfg, evaluation_lanes(runner.cfg, candidates, baselines), overrides, results
    )
    cfg.work_dir = osp.join(runner.work_dir, FOLDER)
    cfg.experiment_name = f'{runner.experiment_name}_{FOLDER}'
    return cfg


def evaluation_lanes(
    cfg: Config, candidates: Sequence[Mapping], baselines: Mapping[str, Mapping]
) -> dict[str, dict]:
    """The lanes that an evaluation of a search trains: one a candidate, then the baselines."""
    searched = cfg.model.get('lanes') or {}
    lanes = {
        c['name']: candidate_lane(searched.get(c.get('lane')) or {}, c['theta']) for c in candidates
    }
    return {**lanes, **baselines}


def all_baselines(
    baselines: Mapping[str, Mapping] | None, single_teachers: bool, teachers: Sequence[str]
) -> dict[str, Mapping]:
    """The baselines that a search asks for, those of single teachers after the others."""
    singles = {f'only_{teacher}': dict(distribution=dict(probs=teacher)) for teacher in teachers}
    return {**(baselines or {}), **(singles if single_teachers else {})}


def fixed_config(
    cfg: Config, lanes: Mapping[str, Mapping], overrides: Mapping, results: Mapping
) -> Config:
    """The config of a search as one that trains ``lanes`` from scratch and searches nothing.

    Args:
        cfg: of the search.
        lanes: ``{name: overrides}``.
        overrides: merged over the config.
        results: arguments of its :class:`ResultsHook`.
    """
    cfg = copy.deepcopy(cfg)
    cfg.model.lanes = copy.deepcopy(dict(lanes))
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if not is_search_hook(hook)]
    cfg.custom_hooks = [*hooks, dict(type='mmdynakd.ResultsHook', **results)]
    cfg.merge_from_dict(copy.deepcopy(dict(overrides)))
    cfg.load_from = None
    return cfg


def is_search_hook(hook: Mapping) -> bool:
    """Whether a hook's config is that of a :class:`CandidateEvaluationHook`."""
    return 'CandidateEvaluationHook' in str(hook.get('type'))


def search_hook(cfg: Config) -> Mapping | None:
    """The config of the :class:`CandidateEvaluationHook` of a search, if it has one."""
    return next((hook for hook in cfg.get('custom_hooks') or [] if is_search_hook(hook)), None)


def candidate_lane(searched: Mapping, theta: Mapping | Sequence) -> dict:
    """The lane that was searched, its own settings kept, with θ fixed."""
    lane = copy.deepcopy(dict(searched))
    lane['distribution'] = {**(lane.get('distribution') or {}), 'probs': copy.deepcopy(theta)}
    return lane
