"""The config of the evaluation stage: that of the search, with one lane a candidate and a baseline."""
import copy
import os.path as osp
from collections.abc import Mapping

from mmengine.config import Config
from mmengine.runner import Runner, find_latest_checkpoint

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
    cfg = copy.deepcopy(runner.cfg)
    lanes = {c['name']: dict(distribution=dict(probs=dict(c['theta']))) for c in candidates}
    cfg.model.lanes = {**lanes, **copy.deepcopy(dict(baselines))}
    cfg.work_dir = osp.join(runner.work_dir, FOLDER)
    cfg.experiment_name = f'{runner.experiment_name}_{FOLDER}'
    cfg.train_cfg.pop('upper_dataloader', None)
    if isinstance(cfg.get('param_scheduler'), Mapping):
        cfg.param_scheduler.pop('theta', None)
    hooks = [h for h in cfg.get('custom_hooks') or [] if 'CandidateEvaluationHook' not in str(h.get('type'))]
    cfg.custom_hooks = [*hooks, dict(type='mmdynakd.ResultsHook', candidates=list(lanes), metric=metric,
                                     out_dir=runner.work_dir)]
    cfg.merge_from_dict(copy.deepcopy(dict(overrides)))
    # The search's seed: a time-based one must not differ between the stages.
    cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': runner.seed}
    cfg.load_from, cfg.resume = None, bool(cfg.get('resume')) and _started(cfg.work_dir)
    return cfg


def _started(work_dir: str) -> bool:
    return osp.isdir(work_dir) and find_latest_checkpoint(work_dir) is not None
