"""Says which steps were skipped and what to try; stops a run that only skips."""

import logging
import math
import os.path as osp
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import all_gather_object
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmdynakd.entries import is_theta, lane_of
from mmdynakd.models.teachers.records import flatten
from mmdynakd.models.unwrap import algorithm_of
from mmdynakd.workdir.checkpoints import damage_of, saved_checkpoints

from ..optim.guard import StepGuard

SHOWN = 8  # ids of a batch
SAID = 10  # skipped steps of an entry that are said one by one; then one in SAID
ID_KEYS = ('img_path', 'sample_idx', 'view')


class FaultReport:
    """Explains what the optim wrapper's :class:`StepGuard` skipped.

    All ranks skip the same steps, so all of them come here.

    Args:
        runner: of the run.

    Examples:
        A loop asks it after each step: ``FaultReport(runner).report(data_batch, iteration)``.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        # by entry: the checkpoints that were there when its row of faults began
        self._saved: dict[str, list[str]] = {}

    def report(self, batch: Mapping[str, Any] | None, iteration: int) -> None:
        """Warn of the last step's faults, and log how many there were so far.

        The numbers are logged as ``<lane>/skipped`` and ``<lane>/upper_skipped``.

        Args:
            batch: of that step, as its loader gave it; None where there was no step.
            iteration: of the run, from 1.

        Raises:
            FloatingPointError: ``max_skipped`` steps of an entry in a row were skipped.
        """
        guard = self._guard
        if batch is None or guard is None or not guard.faults:
            return
        for entry in guard.faults:
            self.runner.message_hub.update_scalar(f'train/{_key(entry)}', guard.skipped[entry])
            if guard.in_row[entry] == 1 or entry not in self._saved:
                self._saved[entry] = saved_checkpoints(self.runner.cfg)
        said = '; '.join(
            [f'iteration {iteration}', *map(self._skipped, guard.faults), *self._gathered(batch)]
        )
        for entry in guard.faults:
            if guard.in_row[entry] >= guard.max_skipped:
                raise FloatingPointError(self._last_words(entry, said))
        if any(
            guard.skipped[entry] <= SAID or guard.skipped[entry] % SAID == 0
            for entry in guard.faults
        ):
            print_log(f'{said} (docs/faults.md)', 'current', logging.WARNING)
        guard.faults = {}

    @property
    def _guard(self) -> StepGuard | None:
        guard: StepGuard | None = self.runner.optim_wrapper.guard
        return guard

    def _skipped(self, entry: str) -> str:
        guard, algorithm = self.runner.optim_wrapper.guard, algorithm_of(self.runner)
        lane = lane_of(entry)
        fault, what = guard.faults[entry], 'loss'
        if not fault.loss:
            names = {id(parameter): name for name, parameter in algorithm.named_parameters()}
            what = ' of '.join(
                ['gradient', *(names[id(parameter)] for parameter in fault.parameters[:1])]
            )
        step = 'the upper step (θ)' if is_theta(entry) else 'the step'
        teachers = ', '.join(algorithm.notes.teachers.get(lane, [])) or 'none'
        return (
            f"{step} of lane '{lane}' is skipped, its {what} is not finite "
            f'({guard.in_row[entry]} in a row, {guard.skipped[entry]} in all; teacher: {teachers})'
        )

    def _gathered(self, batch: Mapping[str, Any]) -> list[str]:
        """What the ranks know of the batch: those whose loss is not finite, or else all of them."""
        notes, (kind, ids) = algorithm_of(self.runner).notes, sample_ids(batch)
        ranks = all_gather_object(
            {
                'not finite': [
                    name for name, loss in notes.losses.items() if not _finite(flatten(loss)[1])
                ],
                'teachers whose output is not finite': [
                    n for n, o in notes.outputs.items() if not _finite(flatten(o)[1])
                ],
                f'images that are not finite by {kind}': [
                    i for i, x in zip(ids, batch['inputs']) if not _finite([x])
                ],
                f'the batch by {kind}': ids,
            }
        )
        ranks = [rank for rank in ranks if rank['not finite']] or ranks
        found = {
            title: list(dict.fromkeys(item for rank in ranks for item in rank[title]))
            for title in ranks[0]
        }
        return [f'{title}: {_some(items)}' for title, items in found.items() if items]

    def _last_words(self, entry: str, said: str) -> str:
        lane, guard = lane_of(entry), self.runner.optim_wrapper.guard
        # An upper loss has the student in it.
        kinds = ['theta', 'student'] if is_theta(entry) else ['student']
        lower = ' or '.join(f'optim_wrapper.{kind}.optimizer.lr' for kind in kinds)
        sizes = {
            n: float(p.detach().abs().max())
            for n, p in algorithm_of(self.runner).lanes[lane].named_parameters()
            if p.numel()
        }
        largest = max(sizes, key=lambda name: (not math.isfinite(sizes[name]), sizes[name]))
        good = next(
            (path for path in self._saved[entry] if osp.exists(path) and damage_of(path) is None),
            None,
        )
        return (
            f'{guard.in_row[entry]} steps in a row were not finite '
            f'(optim_wrapper.max_skipped={guard.max_skipped}): the run stops. {said}. '
            f"The largest weight of lane '{lane}' is {sizes[largest]:.1e} ({largest}). "
            f'Last good checkpoint: {good or f"none in {self.runner.work_dir}"}. What to try: a '
            f'lower {lower}; their clip_grad=dict(max_norm=…); a look at these images; '
            'mmdynakd check teachers for the teachers (docs/faults.md)'
        )


def sample_ids(batch: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """What names a batch's samples, and their names.

    Where nothing does, a sample's name is its place in the batch.

    Examples:
        >>> sample_ids(dict(inputs=['first image', 'second image']))
        ('place', [0, 1])
    """
    views, samples = batch.get('views'), batch.get('data_samples') or []
    if isinstance(views, Mapping):
        return 'index', (views['ids'] % views['size']).tolist()
    for key in ID_KEYS:
        if samples and all(key in sample for sample in samples):
            return key, [sample.get(key) for sample in samples]
    return 'place', list(range(len(batch['inputs'])))


def _finite(tensors: Iterable[torch.Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def _key(entry: str) -> str:
    return f'{lane_of(entry)}/{"upper_skipped" if is_theta(entry) else "skipped"}'


def _some(items: Sequence[Any]) -> str:
    return ', '.join(map(str, items[:SHOWN])) + (
        f', … ({len(items)})' if len(items) > SHOWN else ''
    )
