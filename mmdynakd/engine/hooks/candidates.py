"""Observes θ during the search, collects M candidates, starts their evaluation."""

import shlex
from collections.abc import Mapping, Sequence

import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn

from mmdynakd.errors import CheckpointError, UserError
from mmdynakd.evaluation.lanes import all_baselines, candidate_lane, evaluation_config
from mmdynakd.evaluation.rehearsal import SOURCE, check_overrides, rehearse
from mmdynakd.functional import as_simplex, entropy, total_variation
from mmdynakd.models.unwrap import algorithm_of
from mmdynakd.names import is_lane_name
from mmdynakd.registry import HOOKS
from mmdynakd.report import write_theta
from mmdynakd.values import Candidate, Candidates, ThetaPoint, typed, write
from mmdynakd.workdir.runs import begin, finish, holds

from .results import check_loops, check_metric
from .runtime_info import flush
from .theta_watch import ThetaWatch

STATE = 'dynakd_search'
SAME = 0.01  # total variation under which two candidates are one
EVALUATE = 'python tools/evaluate_candidates.py'
MAX_POINTS = 1000  # of the θ curve, whatever the length of the search


@HOOKS.register_module()
class CandidateEvaluationHook(Hook):
    """Collects M candidate distributions along the search, then trains a student from scratch with
    each.

    Writes to the work dir: ``candidates.json``, ``theta.csv`` and ``theta.png`` after the search;
    the evaluation (one Runner, one lane a candidate and a baseline) goes to ``evaluation/`` below
    it, its results beside them.

    Args:
        num_candidates: M >= 1 snapshots of θ, evenly over the search after ``begin``; the last is
            the final θ.
        begin: fraction of the search before the first interval, in [0, 1).
        fixed_candidates: ``{name: probs}``, points of the simplex that compete with the snapshots.
        baselines: ``{lane: overrides}``, lanes trained beside the candidates but never chosen.
        single_teachers: adds a baseline lane ``only_<teacher>`` (one-hot θ) for each teacher.
        evaluation: overrides of the config for the evaluation, e.g.
            ``dict(train_cfg=dict(max_epochs=240))``; what they change is tried before the search.
        metric: validation metric, higher is better, that chooses among the candidates.
        interval: iterations between two points of the θ curve.
        evaluate: False stops after ``candidates.json``: ``tools/evaluate_candidates.py`` evaluates
            them, as independent runs, on this machine or on a cluster.

    Raises:
        ValueError: for M < 1, ``begin`` outside [0, 1), or lane names that repeat.
    """

    priority = 'NORMAL'  # before LoggerHook, that shows what this one records

    def __init__(
        self,
        num_candidates: int = 4,
        begin: float = 0.0,
        fixed_candidates: Mapping[str, Sequence[float]] | None = None,
        baselines: Mapping[str, Mapping] | None = None,
        single_teachers: bool = False,
        evaluation: Mapping | None = None,
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
        self.num_candidates, self.begin, self.interval = num_candidates, begin, interval
        self.fixed_candidates = dict(fixed_candidates or {})
        self.baselines, self.single_teachers = dict(baselines or {}), single_teachers
        self.evaluation, self.metric, self.evaluate = dict(evaluation or {}), metric, evaluate
        self._searching = False
        self.history: list[dict] = []
        self.snapshots: list[dict] = []
        self._watch = ThetaWatch()

    def before_train(self, runner: Runner) -> None:
        """Checks now what would fail after the search."""
        algorithm = algorithm_of(runner)
        if not algorithm.searched:
            raise ValueError(
                'CandidateEvaluationHook observes a search, but no lane learns θ '
                '(model.distribution.probs is fixed)'
            )
        teachers = _teachers(algorithm)
        if 'model' not in runner.cfg:
            raise ValueError(
                'the evaluation is built from the config: make the search by Runner.from_cfg(cfg)'
            )
        check_loops(runner)
        if len(self._snapshot_steps(runner.max_iters)) < self.num_candidates:
            raise ValueError(
                f'num_candidates={self.num_candidates} snapshots need as many iterations after '
                'begin, '
                f'the search has {runner.max_iters}'
            )
        for name, probs in self.fixed_candidates.items():
            try:
                as_simplex(probs, len(teachers))
            except ValueError as error:
                raise ValueError(f'fixed_candidates.{name}: {error}') from error
        self.baselines = all_baselines(self.baselines, self.single_teachers, teachers)
        labels = [
            _label(algorithm.searched, lane, k + 1)
            for lane in algorithm.searched
            for k in range(self.num_candidates)
        ]
        names = [*labels, *self.fixed_candidates, *self.baselines]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(
                f'snapshots, fixed_candidates and baselines share the names {repeated}'
            )
        fixed = {
            name: candidate_lane(self._settings(runner), probs)
            for name, probs in self.fixed_candidates.items()
        }
        algorithm.check_lanes({**fixed, **self.baselines})
        self._rehearse(runner)
        self._searching = True
        self._watch.begin(runner)
        if not self.history:
            self._observe(runner, 0)

    def _rehearse(self, runner: Runner) -> None:
        check_overrides(runner, self.evaluation)
        lane, teachers = next(iter(algorithm_of(runner).searched)), _teachers(algorithm_of(runner))
        candidate = dict(name='cat1', lane=lane, theta=dict.fromkeys(teachers, 1 / len(teachers)))
        try:
            cfg = evaluation_config(
                runner, [candidate], self.baselines, self.evaluation, self.metric
            )
        except (TypeError, KeyError, ValueError) as error:  # Config's, of what cannot be merged
            raise UserError(f'{SOURCE} cannot be merged into the config: {error}') from error
        rehearse(runner, cfg, self.evaluation)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        check_metric(self.metric, metrics)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        done = runner.iter + 1
        if done % self.interval == 0 or done == runner.max_iters:
            self._observe(runner, done)
        if done in self._snapshot_steps(runner.max_iters):
            self._snapshot(runner, done)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint[STATE] = dict(
            history=self.history,
            snapshots=self.snapshots,
            interval=self.interval,
            start=self._watch.start,
        )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        state = checkpoint.get(STATE)
        if (
            state is not None and runner._resume
        ):  # load_from takes the weights of another search, not its course
            check_state(state)
            self.history, self.snapshots, self.interval = (
                state['history'],
                state['snapshots'],
                state['interval'],
            )
            self._watch.start = state.get('start', {})

    def after_run(self, runner: Runner) -> None:
        if not self._searching:  # MMEngine calls it after a test or a validation, too
            return
        if not self.snapshots:  # stopped early
            self._snapshot(runner, runner.iter)
        candidates, merged = merge_candidates(self.snapshots + self._fixed(runner))
        for candidate in merged:
            print_log(
                f'candidate {candidate["name"]} equals {candidate["same_as"]} (total variation < '
                f'{SAME}): '
                'evaluated once',
                'current',
            )
        if is_main_process():
            teachers = _teachers(algorithm_of(runner))
            found = dict(seed=runner.seed, teachers=teachers, candidates=candidates, merged=merged)
            write(runner.work_dir, 'candidates.json', typed(found, Candidates))
            write_theta(
                runner.work_dir,
                [typed(point, ThetaPoint) for point in self.history],
                [typed(snapshot, Candidate) for snapshot in self.snapshots],
            )
        if not self.evaluate:
            print_log(
                f'search done; {EVALUATE} {shlex.quote(runner.work_dir)} --engine local evaluates '
                'its '
                f'{len(candidates)} candidates',
                'current',
            )
            return
        cfg = evaluation_config(runner, candidates, self.baselines, self.evaluation, self.metric)
        print_log(
            f'search done; evaluating {list(cfg.model.lanes)} side by side in {cfg.work_dir}',
            'current',
        )
        if begin(cfg, fresh=not (runner._resume and holds(cfg))):
            Runner.from_cfg(cfg).train()
            finish(cfg)

    def _snapshot_steps(self, max_iters: int) -> set[int]:
        span = 1 - self.begin
        return {
            round(max_iters * (self.begin + span * (k + 1) / self.num_candidates))
            for k in range(self.num_candidates)
        }

    def _observe(self, runner: Runner, step: int) -> None:
        self._watch.look(runner, step)
        for name, lane in algorithm_of(runner).searched.items():
            theta = lane.selection.marginal()
            self.history.append(dict(step=step, lane=name, theta=theta))
            for teacher, value in theta.items():
                runner.message_hub.update_scalar(f'train/{name}/theta/{teacher}', value)
        if len({point['step'] for point in self.history}) > MAX_POINTS:
            self.interval *= 2
            self.history = [
                p for p in self.history if p['step'] % self.interval == 0 or p['step'] == step
            ]

    def _snapshot(self, runner: Runner, step: int) -> None:
        lanes = algorithm_of(runner).searched
        for name, lane in lanes.items():
            number = 1 + sum(snapshot['lane'] == name for snapshot in self.snapshots)
            selection = lane.selection
            self.snapshots.append(
                dict(
                    name=_label(lanes, name, number),
                    lane=name,
                    step=step,
                    theta=selection.by_teacher(),
                    entropy=entropy(selection.probs()),
                    upper_loss=_upper_loss(runner, name),
                )
            )

    @staticmethod
    def _settings(runner: Runner) -> Mapping:
        """Those of the first lane that searches: fixed candidates compete under them."""
        return (runner.cfg.model.get('lanes') or {}).get(
            next(iter(algorithm_of(runner).searched))
        ) or {}

    def _fixed(self, runner: Runner) -> list[dict]:
        lane, teachers = next(iter(algorithm_of(runner).searched)), _teachers(algorithm_of(runner))
        thetas = {
            name: as_simplex(probs, len(teachers)) for name, probs in self.fixed_candidates.items()
        }
        return [
            dict(
                name=name,
                lane=lane,
                step=None,
                theta=dict(zip(teachers, theta)),
                entropy=entropy(theta),
                upper_loss=None,
            )
            for name, theta in thetas.items()
        ]


def check_state(state: object) -> None:
    """Raises CheckpointError if what a checkpoint says of a search could not be from one: names
    become files.
    """
    try:
        points = [
            (point['lane'], point['step'], point['theta'])
            for point in [*state['history'], *state['snapshots']]
        ]
        names = [snapshot['name'] for snapshot in state['snapshots']] + [
            lane for lane, _, _ in points
        ]
        good = (
            all(map(is_lane_name, names))
            and type(state['interval']) is int
            and state['interval'] > 0
            and all(type(step) is int and isinstance(theta, Mapping) for _, step, theta in points)
        )
    except (KeyError, TypeError, IndexError):
        good = False
    if not good:
        raise CheckpointError(
            f"the checkpoint's {STATE} is damaged or of another program: resume from another one, "
            'or '
            'start over (tools/train.py --fresh)'
        )


def merge_candidates(candidates: list[dict]) -> tuple[list[dict], list[dict]]:
    """Splits into distinct candidates and those within total variation 0.01 of an earlier one
    (``same_as``).
    """
    kept, merged = [], []
    for candidate in candidates:
        twin = next((k for k in kept if total_variation(_rows(candidate), _rows(k)) < SAME), None)
        if twin is None:
            kept.append(candidate)
        else:
            merged.append({**candidate, 'same_as': twin['name']})
    return kept, merged


def _teachers(algorithm: nn.Module) -> list[str]:
    """Names of the teachers among which the lanes search."""
    return list(
        dict.fromkeys(t for lane in algorithm.searched.values() for t in lane.selection.teachers)
    )


def _rows(candidate: dict) -> np.ndarray:
    """θ as (n,), or (C, n) where it is class-conditional."""
    return np.array(list(candidate['theta'].values())).T


def _label(lanes: Mapping, name: str, number: int) -> str:
    return f'cat{number}' if len(lanes) == 1 else f'{name}_cat{number}'


def _upper_loss(runner: Runner, lane: str) -> float | None:
    """Mean of the last 100 upper losses; None before the first upper step."""
    flush(runner)
    buffer = runner.message_hub.log_scalars.get(f'train/{lane}/upper_loss')
    return float(buffer.mean(100)) if buffer is not None else None
