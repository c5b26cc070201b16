"""All methods over several seeds: assistants first, then two runs a seed, then one table."""

import copy
import logging
import os
import os.path as osp
from collections.abc import Callable, Mapping, Sequence

from mmengine.config import Config
from mmengine.logging import print_log

from mmdynakd.diagnostics.teachers import run_check
from mmdynakd.evaluation.lanes import fixed_config, search_hook
from mmdynakd.launch.config import keep_teacher_order
from mmdynakd.launch.run import train
from mmdynakd.names import unknown_names
from mmdynakd.report import write_comparison
from mmdynakd.values import Results, TeacherReport, plain, read, read_results, typed, write

KEYS = {'seeds', 'assistants', 'ranks'}
RESULTS, TEACHERS = 'results.json', 'teachers.json'
UNSCALED = dict(weight_by_probability=False)
# Who teaches an assistant, and the student: the one before (TAKD), or all before, some dropped
# (DGKD).
CHAINS: dict[str, Callable[[list[str]], dict]] = {
    'takd': lambda before: dict(distribution=dict(probs=before[-1], **UNSCALED)),
    'dgkd': lambda before: dict(
        distribution=dict(
            type='mmdynakd.RandomSubset', drop=min(1, len(before) - 1), reduction='sum'
        ),
        relaxation='losses',
    ),
}


def run_benchmark(cfg: Config, seeds: Sequence[int] | None = None) -> str:
    """Runs what is not finished yet below ``cfg.work_dir`` and writes ``comparison.json`` and
    ``comparison.md``.

    A seed is two runs that share seed, batches and the student's start: the search with its
    evaluation, all rivals beside it; then the methods that need what came before: SKDBERT's ranks,
    and TAKD and DGKD over their assistants, which are trained once, with the first seed.

    Args:
        cfg: config of a DynaKD search with a ``CandidateEvaluationHook`` and
            ``benchmark=dict(seeds=[…], assistants=…, ranks=…)``.
        seeds: those of the config to run now, by default all; the table has every seed that is
            finished.

    Returns:
        The table's path.

    Raises:
        ValueError: for another key in ``benchmark``, no seeds or unknown ones, no hook, several
            processes, or a folder that holds runs of another config.
    """
    spec = dict(cfg.get('benchmark') or {})
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
            'add them '
            'to benchmark.seeds'
        )
    if cfg.get('launcher', 'none') != 'none':
        raise ValueError(
            'a benchmark is many runs in one process: leave --launcher out, and give several GPUs '
            '--seeds of their own (the first seed first: it trains the assistants)'
        )
    _hook(cfg)
    kinds = list(CHAINS) if spec.get('assistants') else []
    parts = ['.', 'later'] if kinds or spec.get('ranks') else ['.']  # a seed's folders
    extra = {kind: _assistants(cfg, kind, spec['seeds'][0]) for kind in kinds}
    for seed in seeds or spec['seeds']:
        first = _once(_search(cfg, seed))
        if 'later' in parts:
            _once(_later(cfg, seed, extra, first if spec.get('ranks') else None))
    finished = [seed for seed in spec['seeds'] if _finished(cfg, seed, parts)]
    return write_comparison(
        cfg.work_dir,
        [typed(_joined(cfg, seed, parts), Results) for seed in finished],
        _metric(cfg),
    )


def _hook(cfg: Config) -> Mapping:
    hook = search_hook(cfg)
    if hook is None:
        raise ValueError(
            'benchmark compares with DynaKD: custom_hooks needs a mmdynakd.CandidateEvaluationHook'
        )
    return hook


def _folder(cfg: Config, *parts: str) -> str:
    return osp.join(cfg.work_dir, *parts)


def _search(cfg: Config, seed: int) -> Config:
    return _derived(cfg, _folder(cfg, f'seed{seed}'), seed)


def _fixed(cfg: Config, folder: str, seed: int, lanes: Mapping, teachers: Mapping) -> Config:
    """A run of lanes that search nothing, on the schedule of the evaluation."""
    hook, metric = _hook(cfg), _metric(cfg)
    derived = fixed_config(
        _derived(cfg, folder, seed), lanes, hook.get('evaluation') or {}, dict(metric=metric)
    )
    derived.model.teachers = copy.deepcopy(dict(teachers))
    derived.model.pop('teacher_order', None)
    return derived


def _derived(cfg: Config, folder: str, seed: int) -> Config:
    derived = copy.deepcopy(cfg)
    derived.pop('benchmark')
    derived.work_dir = folder
    derived.randomness = dict(dict(cfg.get('randomness') or {}), seed=seed)
    return derived


def _assistants(cfg: Config, kind: str, seed: int) -> dict[str, dict]:
    """Trains the chain's assistants, strong to weak; ``{name: entry of teachers}`` with the first
    teacher in front.
    """
    teachers = cfg.model.teachers
    names = list(teachers)
    chain = {names[0]: copy.deepcopy(teachers[names[0]])}
    for name in names[1:]:
        own = f'{kind}_{name}'
        folder = _folder(cfg, 'assistants', own)
        derived = _fixed(cfg, folder, seed, {own: CHAINS[kind](list(chain))}, chain)
        derived.model.architecture = copy.deepcopy(teachers[name].model)
        _once(derived)
        chain[own] = dict(
            model=copy.deepcopy(teachers[name].model), checkpoint=osp.join(folder, 'student.pth')
        )
    return chain


def _later(cfg: Config, seed: int, chains: Mapping[str, Mapping], first: Mapping | None) -> Config:
    """The run of the methods that need assistants, or the results ``first`` of the seed's first
    run.
    """
    lanes, teachers = {}, dict(cfg.model.teachers)
    for kind, chain in chains.items():
        lanes[kind] = dict(CHAINS[kind](list(chain)), teachers=list(chain))
        teachers.update(chain)
    if first is not None:
        names = list(cfg.model.teachers)
        val = {row['name']: row['val'][_metric(cfg)] for row in first['lanes']}
        missing = [f'only_{name}' for name in names if f'only_{name}' not in val]
        if missing:
            raise ValueError(
                f'benchmark.ranks needs the lanes {missing}: set single_teachers=True in the hook'
            )
        ranks = dict(
            skdbert_teacher=_teacher_scores(cfg),
            skdbert_student={n: val[f'only_{n}'] for n in names},
        )
        for lane, scores in ranks.items():
            lanes[lane] = dict(distribution=dict(scores=scores, **UNSCALED), teachers=names)
    return _fixed(cfg, _folder(cfg, f'seed{seed}', 'later'), seed, lanes, teachers)


def _metric(cfg: Config) -> str:
    return _hook(cfg).get('metric', 'accuracy/top1')


def _teacher_scores(cfg: Config) -> dict[str, float]:
    """Accuracy of every teacher on val, in per cent; measured once, kept in ``teachers.json`` with
    the whole check.
    """
    if not osp.exists(_folder(cfg, TEACHERS)):
        report = run_check(cfg, ['val'])
        for warning in report.warnings:
            print_log(warning, 'current', logging.WARNING)
        write(cfg.work_dir, TEACHERS, report)
    kept = read(_folder(cfg, TEACHERS), TeacherReport, 'remove it: it is measured again')
    return {teacher.name: teacher.val for teacher in kept.teachers}


def _once(cfg: Config) -> dict:
    """Results of a run, run unless they are there; an interrupted one goes on."""
    keep_teacher_order(cfg)
    cfg.experiment_name = osp.relpath(cfg.work_dir).replace(os.sep, '_') + f'_{os.getpid()}'
    train(cfg)
    return plain(read_results(_folder(cfg, RESULTS), (search_hook(cfg) or {}).get('metric')))


def _finished(cfg: Config, seed: int, parts: Sequence[str]) -> bool:
    return all(osp.exists(_folder(cfg, f'seed{seed}', part, RESULTS)) for part in parts)


def _joined(cfg: Config, seed: int, parts: Sequence[str]) -> dict:
    """The results of a seed, of all its runs."""
    results, *later = [
        plain(read_results(_folder(cfg, f'seed{seed}', part, RESULTS), _metric(cfg)))
        for part in parts
    ]
    results['lanes'] += [dict(row, role='baseline') for other in later for row in other['lanes']]
    return results
