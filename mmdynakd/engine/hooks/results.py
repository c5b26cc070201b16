"""After training: choose on validation, export, test once, report."""

import os.path as osp
from collections.abc import Sequence

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn

from mmdynakd.errors import UserError
from mmdynakd.export.student import export_student
from mmdynakd.files import write_text
from mmdynakd.models.unwrap import algorithm_of
from mmdynakd.names import suggestion
from mmdynakd.registry import HOOKS
from mmdynakd.report import results_table
from mmdynakd.values import Results, plain, typed, write
from mmdynakd.workdir.identity import run_facts


@HOOKS.register_module()
class ResultsHook(Hook):
    """Ends an evaluation: the last epoch's students are scored on val, the best candidate is chosen
    and exported, then every lane is tested, once.

    Writes ``results.json``, ``results.md`` and the student (see :func:`export_student`).

    Args:
        candidates: lanes among which to choose; by default every lane that has a distribution.
        metric: validation metric, higher is better.
        out_dir: where to write; by default the work dir.
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

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        check_metric(self.metric, metrics)

    def after_train(self, runner: Runner) -> None:
        runner.val_loop.run()
        val = runner.val_loop.lane_metrics
        selected = self._select(runner, val)
        out_dir = self.out_dir or runner.work_dir
        if is_main_process():
            export_student(
                runner.cfg,
                _lanes(runner)[selected].student,
                runner.test_loop.dataloader.dataset,
                out_dir,
            )
        runner.test_loop.run()
        results = dict(
            selected=selected,
            selection=f'highest val {self.metric} of the last epoch among the candidates; test seen once, after it',
            test_size=len(runner.test_loop.dataloader.dataset),
            **plain(run_facts(runner, algorithm_of(runner))),
            lanes=[
                dict(
                    self._row(name, lane, val[name], runner.test_loop.lane_metrics[name]),
                    skipped=runner.optim_wrapper.skipped.get(name, 0),
                )
                for name, lane in _lanes(runner).items()
            ],
        )
        if is_main_process():
            found = typed(results, Results)
            write(out_dir, 'results.json', found)
            table = results_table(found, self.metric)
            write_text(out_dir, 'results.md', table)
            print_log(
                f'\n{table}\nresults: {osp.join(out_dir, "results.json")}\n'
                f'student: {osp.join(out_dir, "student.pth")} (config student.py)',
                'current',
            )

    def _select(self, runner: Runner, val: dict[str, dict[str, float]]) -> str:
        return max(
            self._candidates(runner), key=lambda name: val[name][self.metric]
        )  # the first of equals

    def _candidates(self, runner: Runner) -> list[str]:
        if self.candidates is not None:
            return self.candidates
        return [name for name, lane in _lanes(runner).items() if lane.selection is not None]

    def _row(self, name: str, lane: nn.Module, val: dict, test: dict) -> dict:
        selection = lane.selection
        role = 'candidate' if self.candidates is None or name in self.candidates else 'baseline'
        row = dict(
            name=name,
            role='baseline' if selection is None else role,
            selection=None,
            teachers=[],
            theta=None,
        )
        if selection is not None:
            row.update(
                selection=type(selection).__name__,
                teachers=selection.teachers,
                **selection.summary(),
            )
        return dict(**row, val=_floats(val), test=_floats(test))


def check_loops(runner: Runner) -> None:
    """Builds the validation and test loops, so that what is wrong with them shows before the
    training.

    Raises:
        ValueError: if they do not score lanes, or have no images.
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


def check_metric(metric: str, metrics: dict) -> None:
    """Raises UserError if a lane was not scored by ``metric``."""
    found = sorted({key.split('/', 1)[1] for key in metrics})
    if metric not in found:
        raise UserError(
            f'metric={metric!r} chooses among the candidates, but val_evaluator gives '
            f'{found}{suggestion(metric, found)}'
        )


def _lanes(runner: Runner) -> nn.ModuleDict:
    return algorithm_of(runner).lanes


def _floats(metrics: dict) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.items()}
