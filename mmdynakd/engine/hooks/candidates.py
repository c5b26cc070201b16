"""Observes θ during the search and hands its candidates over to their evaluation."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmdynakd.compat.mmengine_internals import resumes
from mmdynakd.evaluation.candidates import SAME, fixed_candidates, merge_candidates
from mmdynakd.evaluation.evaluate import evaluate
from mmdynakd.evaluation.lanes import baseline_lanes, candidate_lanes
from mmdynakd.evaluation.plan import CANDIDATES, Plan, plan_evaluation
from mmdynakd.evaluation.rehearsal import rehearse
from mmdynakd.models import DynaKD
from mmdynakd.models.unwrap import algorithm_of, searched_selections
from mmdynakd.registry import HOOKS
from mmdynakd.report import write_theta
from mmdynakd.values import Candidate, Candidates, write

from .results import check_loops, check_metric
from .search_course import STATE, SearchCourse, label
from .theta_watch import ThetaWatch

EVALUATE = 'mmdynakd evaluate'


@HOOKS.register_module()
class CandidateEvaluationHook(Hook):
    """Collects M candidate distributions along the search, and hands them over to be evaluated.

    Writes ``candidates.json``, ``theta.csv`` and ``theta.png`` to the work dir after the search.
    The evaluation trains a student from scratch with each candidate, side by side in one run, in
    the folder ``evaluation/``; its results go to the work dir.

    Args:
        num_candidates: M >= 1 snapshots of θ, evenly spaced over the search after ``begin``; the
            last is the final θ.
        begin: fraction of the search before the first interval, in [0, 1).
        fixed_candidates: ``{name: probs}``, points of the simplex that compete with the snapshots.
        baselines: ``{lane: overrides}``, lanes trained beside the candidates but never chosen.
        single_teachers: adds a baseline lane ``only_<teacher>`` (one-hot θ) for each teacher.
        evaluation: overrides of the config for the evaluation, e.g.
            ``dict(train_cfg=dict(max_epochs=240))``; what they change is tried before the search.
        metric: validation metric, higher is better, that chooses among the candidates.
        interval: iterations between two points of the θ curve.
        evaluate: False stops after ``candidates.json``; ``mmdynakd evaluate`` then evaluates them
            as independent runs, on this machine or on a cluster.

    Raises:
        ValueError: M < 1, ``begin`` outside [0, 1), or lane names that repeat.

    Examples:
        >>> from mmdynakd.registry import HOOKS
        >>> hook = HOOKS.build(
        ...     dict(type='mmdynakd.CandidateEvaluationHook', num_candidates=2, begin=0.5)
        ... )
        >>> hook.metric
        'accuracy/top1'
    """

    priority = 'NORMAL'  # before LoggerHook, which shows what this hook records
    collects_candidates = True  # by which configs are searched for it

    def __init__(
        self,
        num_candidates: int = 4,
        begin: float = 0.0,
        fixed_candidates: Mapping[str, Sequence[float]] | None = None,
        baselines: Mapping[str, Mapping[str, Any]] | None = None,
        single_teachers: bool = False,
        evaluation: Mapping[str, Any] | None = None,
        metric: str = 'accuracy/top1',
        interval: int = 10,
        evaluate: bool = True,
    ) -> None:
        if (
            isinstance(num_candidates, bool)
            or not isinstance(num_candidates, int)
            or num_candidates < 1
        ):
            raise ValueError(f'num_candidates must be an integer >= 1, got {num_candidates!r}')
        if not 0 <= begin < 1 or interval < 1:
            raise ValueError(
                f'begin must be in [0, 1) and interval >= 1, got {begin!r} and {interval!r}'
            )
        self.num_candidates, self.begin = num_candidates, begin
        self.fixed_candidates = dict(fixed_candidates or {})
        self.baselines, self.single_teachers = dict(baselines or {}), single_teachers
        self.evaluation, self.metric, self.evaluate = dict(evaluation or {}), metric, evaluate
        self._searching = False
        self._course = SearchCourse(interval)
        self._watch = ThetaWatch()

    def before_train(self, runner: Runner) -> None:
        """Checks now what would fail after the search."""
        algorithm = algorithm_of(runner)
        if not algorithm.searched:
            raise ValueError(
                'CandidateEvaluationHook observes a search, but no lane learns θ '
                '(model.selection.probs is fixed)'
            )
        if 'model' not in runner.cfg:
            raise ValueError(
                'the evaluation is built from the config: make the search by Runner.from_cfg(cfg)'
            )
        check_loops(runner)
        if len(self._snapshot_steps(runner.max_iters)) < self.num_candidates:
            raise ValueError(
                f'num_candidates={self.num_candidates} snapshots need as many iterations after '
                f'begin, the search has {runner.max_iters}'
            )
        self._check_lanes(runner, self._fixed(algorithm))
        lane, teachers = _first_lane(algorithm), _teachers(algorithm)
        uniform = dict.fromkeys(teachers, 1 / len(teachers))
        trial = Candidate(name='cat1', lane=lane, theta=uniform)
        rehearse(runner, self._plan(runner, [trial]))
        self._searching = True
        self._watch.begin(runner)
        if not self._course.history:
            self._observe(runner, 0)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Checks that lanes are scored by the metric that will choose."""
        check_metric(self.metric, metrics or {})

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Adds a point to the curve, and takes a snapshot, where they are due."""
        done = runner.iter + 1
        if done % self._course.interval == 0 or done == runner.max_iters:
            self._observe(runner, done)
        if done in self._snapshot_steps(runner.max_iters):
            self._course.snapshot(runner, done)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Keeps the course of the search."""
        checkpoint[STATE] = dict(self._course.state_dict(), start=self._watch.start)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Takes the course up again; ``load_from`` takes weights, not another search's course."""
        state = checkpoint.get(STATE)
        if state is not None and resumes(runner):
            self._course.load_state_dict(state)
            self._watch.start = state.get('start', {})

    def after_run(self, runner: Runner) -> None:
        """Writes what was found and hands it over to the evaluation."""
        if not self._searching:  # MMEngine calls it after a test or a validation, too
            return
        if not self._course.snapshots:  # stopped early
            self._course.snapshot(runner, runner.iter)
        competing = self._course.snapshots + self._fixed(algorithm_of(runner))
        candidates, merged = merge_candidates(competing)
        for candidate in merged:
            print_log(
                f'candidate {candidate.name} equals {candidate.same_as} '
                f'(total variation < {SAME}): evaluated once',
                'current',
            )
        self._write(runner, candidates, merged)
        if not self.evaluate:
            print_log(
                f'search done; {EVALUATE} {shlex.quote(runner.work_dir)} --executor local '
                f'evaluates its {len(candidates)} candidates',
                'current',
            )
            return
        plan = self._plan(runner, candidates)
        print_log('search done', 'current')
        evaluate(plan, fresh=not (resumes(runner) and plan.has_begun()))

    def _plan(self, runner: Runner, candidates: Sequence[Candidate]) -> Plan:
        teachers = _teachers(algorithm_of(runner))
        return plan_evaluation(runner.cfg, self, candidates, teachers, [runner.seed])

    def _fixed(self, algorithm: DynaKD) -> list[Candidate]:
        """The fixed candidates; they compete under the settings of the first lane that searches."""
        return fixed_candidates(self.fixed_candidates, _teachers(algorithm), _first_lane(algorithm))

    def _check_lanes(self, runner: Runner, fixed: Sequence[Candidate]) -> None:
        algorithm = algorithm_of(runner)
        baselines = baseline_lanes(self.baselines, self.single_teachers, _teachers(algorithm))
        labels = [
            label(algorithm.searched, lane, k + 1)
            for lane in algorithm.searched
            for k in range(self.num_candidates)
        ]
        names = [*labels, *self.fixed_candidates, *baselines]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(
                f'snapshots, fixed_candidates and baselines share the names {repeated}'
            )
        algorithm.check_lanes({**candidate_lanes(runner.cfg, fixed), **baselines})

    def _snapshot_steps(self, max_iters: int) -> set[int]:
        span = 1 - self.begin
        return {
            round(max_iters * (self.begin + span * (k + 1) / self.num_candidates))
            for k in range(self.num_candidates)
        }

    def _observe(self, runner: Runner, step: int) -> None:
        self._watch.look(runner, step)
        self._course.observe(runner, step)

    def _write(
        self, runner: Runner, candidates: Sequence[Candidate], merged: Sequence[Candidate]
    ) -> None:
        if not is_main_process():
            return
        found = Candidates(
            seed=runner.seed,
            teachers=tuple(_teachers(algorithm_of(runner))),
            candidates=tuple(candidates),
            merged=tuple(merged),
        )
        write(runner.work_dir, CANDIDATES, found)
        write_theta(runner.work_dir, self._course.history, self._course.snapshots)


def _first_lane(algorithm: DynaKD) -> str:
    return next(iter(algorithm.searched))


def _teachers(algorithm: DynaKD) -> list[str]:
    """Names of the teachers among which the lanes search."""
    selections = searched_selections(algorithm).values()
    return list(dict.fromkeys(name for selection in selections for name in selection.teachers))
