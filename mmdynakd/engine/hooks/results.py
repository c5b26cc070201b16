"""After training: choose on validation, export, test once, report."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from msgspec import structs

from mmdynakd.errors import UserError
from mmdynakd.evaluation.choice import choose, rule
from mmdynakd.evaluation.results import write_results
from mmdynakd.export.student import export_student
from mmdynakd.models.unwrap import algorithm_of
from mmdynakd.names import suggestion
from mmdynakd.registry import HOOKS
from mmdynakd.values import LaneResult, Results, lane_result
from mmdynakd.workdir.identity import run_facts


@HOOKS.register_module()
class ResultsHook(Hook):
    """Ends an evaluation: scores on val, chooses, exports, tests once, reports.

    The students of the last epoch are scored on val, the best candidate is chosen and exported,
    then every lane is tested. Writes ``results.json``, ``results.md`` and the student (see
    :func:`mmdynakd.export.student.export_student`).

    Args:
        candidates: lanes among which to choose; by default every lane with teachers.
        metric: validation metric, higher is better.
        out_dir: where to write; by default the work dir.

    Examples:
        >>> from mmdynakd.registry import HOOKS
        >>> HOOKS.build(dict(type='mmdynakd.ResultsHook', candidates=['cat1', 'cat2'])).candidates
        ['cat1', 'cat2']
    """

    priority = 'LOWEST'  # after the last checkpoint

    def __init__(
        self,
        candidates: Sequence[str] | None = None,
        metric: str = 'accuracy/top1',
        out_dir: str | None = None,
    ) -> None:
        self.candidates = list(candidates) if candidates is not None else None
        self.metric, self.out_dir = metric, out_dir

    def before_train(self, runner: Runner) -> None:
        """Checks now what would fail after the training."""
        unknown = sorted(set(self.candidates or []) - set(_lanes(runner)))
        if unknown:
            raise ValueError(
                f'ResultsHook.candidates names no lanes: {unknown}; lanes: {list(_lanes(runner))}'
            )
        check_loops(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Checks that lanes are scored by the metric that will choose."""
        check_metric(self.metric, metrics or {})

    def after_train(self, runner: Runner) -> None:
        """Chooses, exports, tests, writes."""
        runner.val_loop.run()
        val = {name: [own[self.metric]] for name, own in runner.val_loop.lane_metrics.items()}
        selected = choose(self._candidates(runner), val)
        out_dir = self.out_dir or runner.work_dir
        dataset = runner.test_loop.dataloader.dataset
        if is_main_process():
            export_student(runner.cfg, _lanes(runner)[selected].student, dataset, out_dir)
        runner.test_loop.run()
        results = Results(
            selected=selected,
            selection=rule(self.metric),
            test_size=len(dataset),
            **structs.asdict(run_facts(runner, algorithm_of(runner))),
            lanes=tuple(self._row(runner, name) for name in _lanes(runner)),
        )
        if is_main_process():
            print_log(f'\n{write_results(out_dir, results, self.metric)}', 'current')

    def _candidates(self, runner: Runner) -> list[str]:
        if self.candidates is not None:
            return self.candidates
        return [name for name, lane in _lanes(runner).items() if lane.selection.teachers]

    def _row(self, runner: Runner, name: str) -> LaneResult:
        selection = _lanes(runner)[name].selection
        competes = selection.teachers and name in self._candidates(runner)
        row = dict(
            name=name,
            role='candidate' if competes else 'baseline',
            selection=selection.kind,
            teachers=tuple(selection.teachers),
            theta=None,
            **{
                split: {key: float(value) for key, value in loop.lane_metrics[name].items()}
                for split, loop in (('val', runner.val_loop), ('test', runner.test_loop))
            },
            skipped=runner.optim_wrapper.skipped.get(name, 0),
        )
        return lane_result(**{**row, **selection.summary()})


def check_loops(runner: Runner) -> None:
    """Build the validation and test loops, so that mistakes show before the training.

    Raises:
        ValueError: they do not score lanes, or have no images.

    Examples:
        A hook calls it before the training: ``check_loops(runner)``.
    """
    for loop in (runner.val_loop, runner.test_loop):
        if not hasattr(loop, 'evaluators'):
            raise ValueError(
                "DynaKD's lanes are scored by val_cfg=dict(type='mmdynakd.LaneValLoop') and "
                "test_cfg=dict(type='mmdynakd.LaneTestLoop'), with their data loaders and "
                'evaluators'
            )
        if not len(loop.dataloader):
            raise ValueError(
                f'the {loop.mode} split is empty: check {loop.mode}_dataloader.dataset'
            )


def check_metric(metric: str, metrics: Mapping[str, float]) -> None:
    """Check that lanes are scored by ``metric``.

    Raises:
        UserError: they are not.

    Examples:
        >>> check_metric('accuracy/top1', {'search/accuracy/top1': 70.0})
    """
    found = sorted({key.split('/', 1)[1] for key in metrics})
    if metric not in found:
        raise UserError(
            f'metric={metric!r} chooses among the candidates, but val_evaluator gives '
            f'{found}{suggestion(metric, found)}'
        )


def _lanes(runner: Runner) -> Mapping[str, Any]:
    lanes: Mapping[str, Any] = algorithm_of(runner).lanes
    return lanes
