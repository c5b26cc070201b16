"""All methods over several seeds: assistants first, then two evaluations per seed, then a table."""

import copy
import logging
import os
import os.path as osp
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from msgspec import structs

from mmdynakd.diagnostics.teachers import run_check
from mmdynakd.evaluation import Plan, evaluate
from mmdynakd.evaluation.lanes import search_hook
from mmdynakd.evaluation.plan import RESULTS, EvaluationSettings
from mmdynakd.launch.config import keep_teacher_order
from mmdynakd.launch.run import train
from mmdynakd.names import unknown_names
from mmdynakd.report import write_comparison
from mmdynakd.values import Results, TeacherReport, read, read_results, write

from .chains import CHAINS, UNSCALED

KEYS = {'seeds', 'assistants', 'ranks'}
TEACHERS = 'teachers.json'
FIRST, LATER = '.', 'later'  # folders of a seed

Chain = dict[str, Any]  # entries of model.teachers by name, strong to weak


def run_study(cfg: Config, seeds: Sequence[int] | None = None) -> str:
    """Run what is not finished yet below ``cfg.work_dir``, and write the comparison.

    A seed takes two runs that share seed, batches and the student's start: the search with its
    evaluation, all rivals beside it; then the methods that need what came before: SKDBERT's ranks,
    and TAKD and DGKD over their assistants, which are trained once, with the first seed.

    Args:
        cfg: config of a DynaKD search with a ``CandidateEvaluationHook`` and
            ``benchmark=dict(seeds=[…], assistants=…, ranks=…)``.
        seeds: those of the config to run now, by default all; the table has every finished seed.

    Returns:
        The path of the table, ``comparison.md``, beside ``comparison.json``.

    Raises:
        ValueError: another key in ``benchmark``, no seeds or unknown ones, no hook, several
            processes, or a folder that holds runs of another config.

    Examples:
        >>> from mmdynakd.launch.config import load_config
        >>> run_study(load_config('benchmarks/digits_all_methods.py'), [0])  # doctest: +SKIP
        'work_dirs/digits_all_methods/comparison.md'
    """
    spec = dict(cfg.get('benchmark') or {})
    _check(cfg, spec, seeds)
    hook = search_hook(cfg)
    if hook is None:
        raise ValueError(
            'a study compares with DynaKD: custom_hooks needs a mmdynakd.CandidateEvaluationHook'
        )
    return _Study(cfg, hook, spec).run(seeds or spec['seeds'])


def _check(cfg: Config, spec: Mapping[str, Any], seeds: Sequence[int] | None) -> None:
    wrong = unknown_names(spec, sorted(KEYS))
    if wrong or not spec.get('seeds'):
        raise ValueError(
            f'benchmark must be a dict with seeds=[…] and no key but {sorted(KEYS)}, got {spec!r}'
            f'{f"; unknown: {wrong}" if wrong else ""}'
        )
    unknown = sorted(set(seeds or []) - set(spec['seeds']))
    if unknown:
        raise ValueError(
            f'the seeds {unknown} are not in the config, whose table has {list(spec["seeds"])}: '
            'add them to benchmark.seeds'
        )
    if cfg.get('launcher', 'none') != 'none':
        raise ValueError(
            'a study is many runs in one process: leave --launcher out, and give several GPUs '
            '--seeds of their own (the first seed first: it trains the assistants)'
        )


@dataclass(frozen=True)
class _Study:
    """The runs of a study, each in a folder below ``cfg.work_dir``."""

    cfg: Config
    hook: EvaluationSettings
    spec: Mapping[str, Any]

    def run(self, seeds: Sequence[int]) -> str:
        kinds = list(CHAINS) if self.spec.get('assistants') else []
        parts = [FIRST, LATER] if kinds or self.spec.get('ranks') else [FIRST]
        chains = {kind: self._assistants(kind, self.spec['seeds'][0]) for kind in kinds}
        for seed in seeds:
            first = self._search(seed)
            if LATER in parts:
                self._later(seed, chains, first)
        finished = [seed for seed in self.spec['seeds'] if self._is_finished(seed, parts)]
        results = [joined(self.cfg.work_dir, seed, parts, self.hook.metric) for seed in finished]
        return write_comparison(self.cfg.work_dir, results, self.hook.metric)

    def _search(self, seed: int) -> Results:
        """DynaKD and the rivals that are lanes beside it."""
        cfg = self._derived(self._folder(f'seed{seed}'), seed)
        keep_teacher_order(cfg)
        train(cfg)
        return read_results(osp.join(cfg.work_dir, RESULTS), self.hook.metric)

    def _assistants(self, kind: str, seed: int) -> Chain:
        """Train the chain's assistants."""
        teachers = self.cfg.model.teachers
        strongest, *others = teachers
        chain = {strongest: copy.deepcopy(teachers[strongest])}
        for name in others:
            own, model = f'{kind}_{name}', teachers[name].model
            cfg = self._derived(self._folder('assistants', own), seed)
            cfg.model.architecture = copy.deepcopy(model)
            self._evaluate(cfg, {own: CHAINS[kind](list(chain))}, chain, seed)
            checkpoint = osp.join(cfg.work_dir, 'student.pth')
            chain[own] = dict(model=copy.deepcopy(model), checkpoint=checkpoint)
        return chain

    def _later(self, seed: int, chains: Mapping[str, Chain], first: Results) -> None:
        """The methods that need assistants, or the results ``first`` of the seed's first run."""
        lanes: dict[str, Mapping[str, Any]] = {}
        teachers = dict(self.cfg.model.teachers)
        for kind, chain in chains.items():
            lanes[kind] = dict(CHAINS[kind](list(chain)), teachers=list(chain))
            teachers.update(chain)
        if self.spec.get('ranks'):
            lanes.update(self._ranked(first))
        cfg = self._derived(self._folder(f'seed{seed}', LATER), seed)
        self._evaluate(cfg, lanes, teachers, seed)

    def _ranked(self, first: Results) -> dict[str, Mapping[str, Any]]:
        """SKDBERT's lanes: ranks of the teachers, and of the students that they taught alone."""
        names = list(self.cfg.model.teachers)
        val = {row.name: row.val[self.hook.metric] for row in first.lanes}
        missing = [f'only_{name}' for name in names if f'only_{name}' not in val]
        if missing:
            raise ValueError(
                f'benchmark.ranks needs the lanes {missing}: set single_teachers=True in the hook'
            )
        scores = dict(
            skdbert_teacher=self._teacher_scores(),
            skdbert_student={name: val[f'only_{name}'] for name in names},
        )
        return {
            lane: dict(selection=dict(scores=own, **UNSCALED), teachers=names)
            for lane, own in scores.items()
        }

    def _evaluate(
        self, cfg: Config, lanes: Mapping[str, Mapping[str, Any]], teachers: Chain, seed: int
    ) -> None:
        """Train lanes that search nothing, on the schedule of the search's evaluation."""
        cfg.model.teachers = copy.deepcopy(dict(teachers))
        cfg.model.pop('teacher_order', None)
        keep_teacher_order(cfg)
        evaluate(
            Plan(
                results_dir=cfg.work_dir,
                work_dir=cfg.work_dir,
                search=cfg,
                lanes=dict(lanes),
                candidates=list(lanes),
                overrides=self.hook.evaluation,
                metric=self.hook.metric,
                seeds=[seed],
                experiment=cfg.experiment_name,
            )
        )

    def _derived(self, folder: str, seed: int) -> Config:
        cfg = copy.deepcopy(self.cfg)
        cfg.pop('benchmark')
        cfg.work_dir = folder
        cfg.experiment_name = osp.relpath(folder).replace(os.sep, '_') + f'_{os.getpid()}'
        cfg.randomness = dict(dict(cfg.get('randomness') or {}), seed=seed)
        return cfg

    def _teacher_scores(self) -> dict[str, float]:
        """Accuracy of every teacher on val, in per cent; measured once, with the whole check."""
        path = self._folder(TEACHERS)
        if not osp.exists(path):
            report = run_check(self.cfg, ['val'])
            for warning in report.warnings:
                print_log(warning, 'current', logging.WARNING)
            write(self.cfg.work_dir, TEACHERS, report)
        kept = read(path, TeacherReport, 'remove it, and it is measured again')
        return {teacher.name: teacher.val for teacher in kept.teachers}

    def _folder(self, *parts: str) -> str:
        return osp.join(self.cfg.work_dir, *parts)

    def _is_finished(self, seed: int, parts: Sequence[str]) -> bool:
        return all(osp.exists(self._folder(f'seed{seed}', part, RESULTS)) for part in parts)


def joined(work_dir: str, seed: int, parts: Sequence[str], metric: str) -> Results:
    """The results of a seed of a study, of all its runs.

    Args:
        work_dir: of the study.
        seed: a finished one.
        parts: folders of the seed's runs, the search first; the lanes of the others become
            baselines.
        metric: that each lane must have.

    Examples:
        >>> joined('work_dirs/study', 0, ['.', 'later'], 'accuracy/top1')  # doctest: +SKIP
    """
    paths = [osp.join(work_dir, f'seed{seed}', part, RESULTS) for part in parts]
    results, *later = [read_results(path, metric) for path in paths]
    rivals = [structs.replace(row, role='baseline') for other in later for row in other.lanes]
    return structs.replace(results, lanes=(*results.lanes, *rivals))
