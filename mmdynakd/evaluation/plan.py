"""What is evaluated: lanes with seeds, side by side in one run or each as a run of its own."""

import copy
import functools
import os.path as osp
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdynakd.errors import UserError
from mmdynakd.names import is_lane_name
from mmdynakd.registry import MODELS
from mmdynakd.values import Candidate, NewerFormatError, Results, read_results
from mmdynakd.workdir.identity import config_hash
from mmdynakd.workdir.runs import holds

from .lanes import Lanes, baseline_lanes, candidate_lanes, fixed_config

CANDIDATES, RESULTS = 'candidates.json', 'results.json'
RUNS, SIDE_BY_SIDE = 'runs', 'evaluation'  # folders below the work dir of the search


class EvaluationSettings(Protocol):
    """What a ``CandidateEvaluationHook`` says of the evaluation; see there.

    Examples:
        >>> from mmdynakd.engine import CandidateEvaluationHook
        >>> settings: EvaluationSettings = CandidateEvaluationHook(single_teachers=True)
        >>> settings.metric
        'accuracy/top1'
    """

    baselines: Mapping[str, Mapping[str, Any]]
    single_teachers: bool
    evaluation: Mapping[str, Any]
    metric: str


@dataclass(frozen=True)
class Run:
    """A lane with a seed: one student, trained, validated and tested by itself.

    Attributes:
        lane: its name.
        seed: of the run.
        role: ``'candidate'`` or ``'baseline'``.
        config: of the run, with its work dir.

    Examples:
        >>> Run('cat1', 3, 'candidate', Config(dict(work_dir='runs/cat1-seed3'))).name
        'cat1-seed3'
    """

    lane: str
    seed: int
    role: str
    config: Config

    @property
    def name(self) -> str:
        """Names the run and its folder."""
        return f'{self.lane}-seed{self.seed}'

    @property
    def folder(self) -> str:
        """The run's work dir."""
        return str(self.config.work_dir)

    @functools.cached_property
    def config_sha256(self) -> str:
        """Identifies the run's work."""
        return config_hash(self.config)

    def results(self) -> Results | None:
        """Its ``results.json``; None until there is one of this very config."""
        return finished_results(self.folder, self.config_sha256)


@dataclass(frozen=True)
class Plan:
    """Lanes that train a student from scratch each, and how one of them is chosen.

    Attributes:
        results_dir: where the results and the chosen student go; independent runs go to ``runs/``
            below it.
        work_dir: where the lanes train side by side.
        search: the config from which theirs is made.
        lanes: settings by name, candidates first.
        candidates: names of the lanes among which to choose.
        overrides: of the config.
        metric: of the validation split, higher is better, that chooses.
        seeds: one student per seed of each lane.
        processes: that share the global batch of each run.
        experiment: the name by which MMEngine logs the lanes side by side.

    Examples:
        >>> plan = Plan(
        ...     results_dir='search',
        ...     work_dir='search/evaluation',
        ...     search=Config(dict(model=dict())),
        ...     lanes=dict(cat1=dict(selection=dict(probs='uniform')), ce=dict(selection=None)),
        ...     candidates=['cat1'],
        ...     overrides={},
        ...     metric='accuracy/top1',
        ...     seeds=[0, 1],
        ... )
        >>> [run.name for run in plan.runs()]
        ['cat1-seed0', 'ce-seed0', 'cat1-seed1', 'ce-seed1']
        >>> list(plan.side_by_side(0).model.lanes)
        ['cat1', 'ce']
    """

    results_dir: str
    work_dir: str
    search: Config
    lanes: Lanes
    candidates: list[str]
    overrides: Mapping[str, Any]
    metric: str
    seeds: list[int]
    processes: int = 1
    experiment: str | None = None

    def __post_init__(self) -> None:
        """Checks the names of the lanes, which name folders."""
        for name in set(self.lanes) - set(self.candidates):
            if not is_lane_name(name):
                raise UserError(
                    f"the baseline {name!r} cannot name a lane: no '.', '/' or 'loss', nothing "
                    'unseen, at most 100 characters'
                )

    def runs(self) -> list[Run]:
        """The independent runs, seed by seed."""
        return [self._run(lane, seed) for seed in self.seeds for lane in self.lanes]

    def side_by_side(self, seed: int) -> Config:
        """The config that trains all lanes in one run, in :attr:`work_dir`."""
        cfg = self._fixed(self.lanes, self.candidates, seed, out_dir=self.results_dir)
        cfg.work_dir = self.work_dir
        cfg.experiment_name = self.experiment
        return cfg

    def has_begun(self) -> bool:
        """Whether :attr:`work_dir` holds a run of these very lanes, finished or not."""
        return holds(self.side_by_side(self.seeds[0]))

    def _run(self, lane: str, seed: int) -> Run:
        cfg = self._fixed({lane: self.lanes[lane]}, [lane], seed)
        cfg.experiment_name = f'{lane}-seed{seed}'
        cfg.work_dir = osp.join(self.results_dir, RUNS, cfg.experiment_name)
        cfg.launcher = 'pytorch' if self.processes > 1 else 'none'
        return Run(lane, seed, 'candidate' if lane in self.candidates else 'baseline', cfg)

    def _fixed(self, lanes: Lanes, candidates: Sequence[str], seed: int, **options: Any) -> Config:
        results = dict(candidates=list(candidates), metric=self.metric, **options)
        cfg = fixed_config(self.search, lanes, self.overrides, results)
        cfg.randomness = dict(dict(cfg.get('randomness') or {}), seed=seed)
        return cfg


def plan_evaluation(
    cfg: Config,
    settings: EvaluationSettings,
    candidates: Sequence[Candidate],
    teachers: Sequence[str],
    seeds: Sequence[int],
    processes: int = 1,
) -> Plan:
    """Plan the second stage of a search: a lane per candidate, then the baselines.

    Args:
        cfg: of the search, with its work dir, where the results go.
        settings: the search's hook.
        candidates: what competes.
        teachers: names of those among which it searched.
        seeds: distinct, >= 0.
        processes: of the search: a run has as many, so that its global batch is the same.

    Raises:
        UserError: names that repeat or cannot name a lane.

    Examples:
        >>> from mmdynakd.engine import CandidateEvaluationHook
        >>> cfg = Config(dict(model=dict(), work_dir='search'))
        >>> settings = CandidateEvaluationHook(single_teachers=True)
        >>> cat1 = Candidate(name='cat1', theta=dict(strong=0.25, weak=0.75))
        >>> list(plan_evaluation(cfg, settings, [cat1], ['strong', 'weak'], seeds=[0]).lanes)
        ['cat1', 'only_strong', 'only_weak']
    """
    baselines = baseline_lanes(settings.baselines, settings.single_teachers, teachers)
    names = [candidate.name for candidate in candidates]
    repeated = sorted(set(names) & set(baselines))
    if repeated:
        raise UserError(f'candidates and baselines share the names {repeated}')
    return Plan(
        results_dir=cfg.work_dir,
        work_dir=osp.join(cfg.work_dir, SIDE_BY_SIDE),
        search=cfg,
        lanes={**candidate_lanes(cfg, candidates), **baselines},
        candidates=names,
        overrides=settings.evaluation,
        metric=settings.metric,
        seeds=list(seeds),
        processes=processes,
        experiment=f'{cfg.get("experiment_name") or osp.basename(cfg.work_dir)}_{SIDE_BY_SIDE}',
    )


def check_lanes(plan: Plan) -> None:
    """Build all lanes with their teachers once, on the CPU, so that mistakes show now.

    Examples:
        ``check_lanes(read_plan('work_dirs/search'))``
    """
    cfg = plan.side_by_side(plan.seeds[0])
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    model = copy.deepcopy(cfg.model)
    if cfg.get('data_preprocessor'):
        model.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))
    MODELS.build(model)


def finished_results(folder: str, config_sha256: str) -> Results | None:
    """Read the results in ``folder``, if they are there and of that config.

    Raises:
        NewerFormatError: a newer version of this package wrote them: they are not overwritten.

    Examples:
        >>> finished_results('no such folder', config_sha256='0' * 64) is None
        True
    """
    try:
        results = read_results(osp.join(folder, RESULTS))
    except NewerFormatError:
        raise
    except UserError:
        return None
    return results if results.config_sha256 == config_sha256 else None
