"""The config of the evaluation stage: that of the search, with one lane a candidate and a baseline."""
import copy
import os.path as osp
from collections.abc import Mapping, Sequence

from mmengine.config import Config
from mmengine.runner import Runner

FOLDER = 'evaluation'


def evaluation_config(runner: Runner, candidates: list[dict], baselines: Mapping[str, Mapping],
                      overrides: Mapping, metric: str) -> Config:
    """Config of the Runner that trains every candidate's student from scratch, side by side.

    Args:
        runner: of the search.
        candidates: with ``name`` and ``theta`` by teacher.
        baselines: lanes beside them.
        overrides: merged over the config, e.g. ``dict(train_cfg=dict(max_epochs=240))``.
        metric: chooses among the candidates on the validation split.
    """
    searched = runner.cfg.model.get('lanes') or {}
    lanes = {c['name']: candidate_lane(searched.get(c['lane']) or {}, c['theta']) for c in candidates}
    results = dict(candidates=list(lanes), metric=metric, out_dir=runner.work_dir)
    cfg = fixed_config(runner.cfg, {**lanes, **baselines}, overrides, results)
    cfg.work_dir = osp.join(runner.work_dir, FOLDER)
    cfg.experiment_name = f'{runner.experiment_name}_{FOLDER}'
    return cfg


def fixed_config(cfg: Config, lanes: Mapping[str, Mapping], overrides: Mapping, results: Mapping) -> Config:
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


def candidate_lane(searched: Mapping, theta: Mapping | Sequence) -> dict:
    """The lane that was searched, its own settings kept, with θ fixed."""
    lane = copy.deepcopy(dict(searched))
    lane['distribution'] = {**(lane.get('distribution') or {}), 'probs': copy.deepcopy(theta)}
    return lane
