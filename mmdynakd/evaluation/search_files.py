"""From what a search left in its work dir to a plan of the second stage."""

import os.path as osp
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmdynakd.errors import UserError
from mmdynakd.launch.config import import_custom
from mmdynakd.names import unknown_names
from mmdynakd.values import Candidates, read_candidates
from mmdynakd.workdir.runs import RUN, read_run

from .lanes import search_hook
from .plan import CANDIDATES, Plan, plan_evaluation


def read_plan(work_dir: str, seeds: Sequence[int] | None = None) -> Plan:
    """Plan the second stage from what a search left in its work dir.

    Args:
        work_dir: of the search.
        seeds: distinct, >= 0; by default the search's own.

    Raises:
        UserError: what is there is not a whole search; see also
            :func:`mmdynakd.values.read_candidates` and :func:`plan_evaluation`.

    Examples:
        ``[run.name for run in read_plan('work_dirs/search', seeds=[0, 1]).runs()]``
    """
    work_dir = osp.abspath(work_dir)
    noted = read_run(work_dir)
    if noted is None:
        raise UserError(
            f'{osp.join(work_dir, RUN)} is missing: give the work dir of a DynaKD search, as '
            'mmdynakd train leaves it'
        )
    cfg = Config(noted['config'], cfg_text=' ', filename=noted.get('filename'))
    cfg.work_dir = work_dir
    import_custom(cfg)
    hook = search_hook(cfg)
    if hook is None or not (cfg.get('model') or {}).get('teachers'):
        raise UserError(
            f'{work_dir} holds a run without a mmdynakd.CandidateEvaluationHook in custom_hooks: '
            'it searched no candidates'
        )
    found = _candidates(osp.join(work_dir, CANDIDATES), cfg)
    seeds = list(seeds) if seeds is not None else [found.seed or 0]
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UserError(f'--seeds must be distinct and >= 0, got {seeds}')
    return plan_evaluation(cfg, hook, found.candidates, found.teachers, seeds, _processes(noted))


def _candidates(path: str, cfg: Config) -> Candidates:
    """Read the candidates, whose teachers and lanes must be those of the search's config."""
    if not osp.isfile(path):
        raise UserError(
            f'{path} is missing: the search has not come to its end; it goes on by the command '
            'that started it'
        )
    found = read_candidates(path)
    unknown = unknown_names(found.teachers, cfg.model.teachers)
    if unknown or found.seed is None:
        wrong = f'the config has no teachers {unknown}' if unknown else 'seed is missing'
        raise UserError(f'{path}: {wrong}; run the search again, which writes it anew')
    lanes = list(cfg.model.get('lanes') or ['search'])
    for number, candidate in enumerate(found.candidates):
        unknown = unknown_names([candidate.lane or lanes[0]], lanes)
        if unknown:
            raise UserError(
                f'{path}: candidates[{number}]: lane {unknown} is none of the config, {lanes}'
            )
    return found


def _processes(noted: Mapping[str, Any]) -> int:
    """How many processes shared the search's global batch, which ``work`` counts over all."""
    whole, own = (
        noted[key].get('train_dataloader', {}).get('batch_size') for key in ('work', 'config')
    )
    return whole // own if isinstance(whole, int) and isinstance(own, int) and own else 1
