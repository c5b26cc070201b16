"""What is to be run: every candidate and baseline with every seed, each as a run of its own."""

import copy
import functools
import os.path as osp
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.utils import import_modules_from_strings

from mmdynakd.errors import UserError
from mmdynakd.files import read_json
from mmdynakd.names import is_lane_name, unknown_names
from mmdynakd.registry import MODELS
from mmdynakd.values import plain, read_candidates
from mmdynakd.workdir.identity import config_hash
from mmdynakd.workdir.runs import RUN, read_run

from .lanes import (
    all_baselines,
    evaluation_lanes,
    fixed_config,
    search_hook,
)

CANDIDATES, RUNS, RESULTS = 'candidates.json', 'runs', 'results.json'


@dataclass(frozen=True)
class Run:
    """A lane with a seed: one student, trained, validated and tested by itself."""

    lane: str
    seed: int
    role: str  # candidate or baseline
    config: Config

    @property
    def name(self) -> str:
        return f'{self.lane}-seed{self.seed}'

    @property
    def folder(self) -> str:
        return self.config.work_dir

    @functools.cached_property
    def config_sha256(self) -> str:
        return config_hash(self.config)

    def results(self) -> dict | None:
        """Its ``results.json``; None until there is one of this very config."""
        return finished_results(self.folder, self.config_sha256)


@dataclass(frozen=True)
class Plan:
    """The evaluation of a search as independent runs.

    Attributes:
        results_dir: work dir of the search; the runs go to ``runs/`` below it.
        search: its config.
        lanes: settings by name, candidates first.
        candidates: names of the lanes among which to choose.
        overrides: of the config, for the evaluation.
        metric: that chooses.
        seeds: one student a seed of each lane.
        processes: of the search: a run has as many, so that its global batch is the same.
    """

    results_dir: str
    search: Config
    lanes: dict[str, Mapping]
    candidates: list[str]
    overrides: Mapping
    metric: str
    seeds: list[int]
    processes: int

    def runs(self) -> list[Run]:
        return [
            Run(
                lane,
                seed,
                'candidate' if lane in self.candidates else 'baseline',
                self._config(lane, seed),
            )
            for seed in self.seeds
            for lane in self.lanes
        ]

    def side_by_side(self, seed: int) -> Config:
        """The config of the evaluation that trains the same lanes in one run."""
        return self._fixed(self.lanes, seed, dict(candidates=self.candidates, metric=self.metric))

    def _config(self, lane: str, seed: int) -> Config:
        cfg = self._fixed(
            {lane: self.lanes[lane]}, seed, dict(candidates=[lane], metric=self.metric)
        )
        cfg.work_dir = osp.join(self.results_dir, RUNS, f'{lane}-seed{seed}')
        cfg.experiment_name = f'{lane}-seed{seed}'
        cfg.launcher = 'pytorch' if self.processes > 1 else 'none'
        return cfg

    def _fixed(self, lanes: Mapping[str, Mapping], seed: int, results: Mapping) -> Config:
        cfg = fixed_config(self.search, lanes, self.overrides, results)
        cfg.randomness = dict(dict(cfg.get('randomness') or {}), seed=seed)
        cfg.resume = False
        return cfg


def make_plan(results_dir: str, seeds: Sequence[int] | None = None) -> Plan:
    """Reads what a search left in its work dir.

    Args:
        results_dir: that work dir.
        seeds: distinct, >= 0; by default the search's own.

    Raises:
        UserError: what is there is no search, or no whole one; see also
            :func:`mmdynakd.report.read_candidates`.
    """
    results_dir = osp.abspath(results_dir)
    noted = read_run(results_dir)
    if noted is None:
        raise UserError(
            f'{osp.join(results_dir, RUN)} is missing: give the work dir of a DynaKD search, as '
            'tools/train.py leaves it'
        )
    cfg = Config(noted['config'], cfg_text=' ', filename=noted.get('filename'))
    hook = search_hook(cfg)
    if hook is None or not (cfg.get('model') or {}).get('teachers'):
        raise UserError(
            f'{results_dir} holds a run without a mmdynakd.CandidateEvaluationHook in '
            'custom_hooks: it '
            'searched no candidates'
        )
    found = _candidates(osp.join(results_dir, CANDIDATES), cfg)
    seeds = list(seeds) if seeds is not None else [found['seed']]
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UserError(f'--seeds must be distinct and >= 0, got {seeds}')
    candidates = [candidate['name'] for candidate in found['candidates']]
    baselines = all_baselines(
        hook.get('baselines'), hook.get('single_teachers', False), found['teachers']
    )
    _check_names(candidates, list(baselines))
    return Plan(
        results_dir,
        cfg,
        evaluation_lanes(cfg, found['candidates'], baselines),
        candidates,
        hook.get('evaluation') or {},
        hook.get('metric', 'accuracy/top1'),
        seeds,
        _processes(noted),
    )


def _candidates(path: str, cfg: Config) -> dict:
    """The candidates in a file, whose teachers and lanes must be those of the search's config."""
    if not osp.isfile(path):
        raise UserError(
            f'{path} is missing: the search has not come to its end; it goes on by the command '
            'that '
            'started it'
        )
    found = plain(read_candidates(path))
    unknown = unknown_names(found['teachers'], cfg.model.teachers)
    if unknown or found['seed'] is None:
        raise UserError(
            f'{path}: {f"the config has no teachers {unknown}" if unknown else "seed is missing"}; '
            'run the '
            'search again, which writes it anew'
        )
    lanes = list(cfg.model.get('lanes') or ['search'])
    for number, candidate in enumerate(found['candidates']):
        unknown = unknown_names([candidate['lane'] or lanes[0]], lanes)
        if unknown:
            raise UserError(
                f'{path}: candidates[{number}]: lane {unknown} is none of the config, {lanes}'
            )
    return found


def _check_names(candidates: Sequence[str], baselines: Sequence[str]) -> None:
    """Names of lanes name folders."""
    repeated = sorted(set(candidates) & set(baselines))
    if repeated:
        raise UserError(f'candidates and baselines share the names {repeated}')
    for name in baselines:
        if not is_lane_name(name):
            raise UserError(
                f"the baseline {name!r} cannot name a lane: no '.', '/' or 'loss', nothing unseen, "
                'at most '
                '100 characters'
            )


def check_lanes(plan: Plan) -> None:
    """Builds all lanes with their teachers once, on the CPU, so that what is wrong with them shows
    now.
    """
    cfg = plan.side_by_side(plan.seeds[0])
    import_custom(cfg)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    model = copy.deepcopy(cfg.model)
    if cfg.get('data_preprocessor'):
        model.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))
    MODELS.build(model)


def import_custom(cfg: Config) -> None:
    """What reading a config file does with its ``custom_imports``."""
    if cfg.get('custom_imports'):
        import_modules_from_strings(**cfg.custom_imports)


def finished_results(folder: str, config_sha256: str) -> dict | None:
    """The results in ``folder``, if they are there and of that config."""
    try:
        results = read_json(osp.join(folder, RESULTS))
    except UserError:
        return None
    return (
        results
        if isinstance(results, dict) and results.get('config_sha256') == config_sha256
        else None
    )


def _processes(noted: Mapping) -> int:
    """How many processes shared the search's global batch, which ``work`` counts over all of them."""
    whole, own = (
        noted[key].get('train_dataloader', {}).get('batch_size') for key in ('work', 'config')
    )
    return whole // own if isinstance(whole, int) and isinstance(own, int) and own else 1
