"""Says which steps were skipped, with the batch, the teachers and what to try; stops a run that
only skips.
"""

import logging
import math
import os.path as osp
from collections.abc import Iterable, Mapping

import torch
from mmengine.dist import all_gather_object
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmdynakd.entries import is_theta, lane_of
from mmdynakd.models.teachers.records import flatten
from mmdynakd.models.unwrap import algorithm_of
from mmdynakd.workdir.checkpoints import damage_of, saved_checkpoints

SHOWN = 8  # ids of a batch
SAID = 10  # skipped steps of an entry that are said one by one; then one in SAID
ID_KEYS = ('img_path', 'sample_idx', 'view')


class FaultReport:
    """Explains what the optim wrapper's :class:`StepGuard` skipped; all ranks skip alike, so that
    all come here.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self._saved: dict[
            str, list[str]
        ] = {}  # by entry: the checkpoints that were there when its row of faults began

    def report(self, batch: Mapping | None, iteration: int) -> None:
        """Warns of the last step's faults and logs their number so far (``<lane>/skipped``,
        ``…/upper_skipped``).

        Args:
            batch: of that step, as its loader gave it; None where there was no step.
            iteration: of the run, from 1.

        Raises:
            FloatingPointError: after ``max_skipped`` steps of an entry in a row.
        """
        guard = self.runner.optim_wrapper.guard
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

    def _skipped(self, entry: str) -> str:
        guard, algorithm, lane = (
            self.runner.optim_wrapper.guard,
            algorithm_of(self.runner),
            lane_of(entry),
        )
        fault, what = guard.faults[entry], 'loss'
        if not fault.loss:
            names = {id(parameter): name for name, parameter in algorithm.named_parameters()}
            what = ' of '.join(
                ['gradient', *(names[id(parameter)] for parameter in fault.parameters[:1])]
            )
        step = (
            f"the step of lane '{lane}'"
            if not is_theta(entry)
            else f"the upper step (θ) of lane '{lane}'"
        )
        teachers = ', '.join(algorithm.notes.teachers.get(lane, [])) or 'none'
        return (
            f'{step} is skipped, its {what} is not finite ({guard.in_row[entry]} in a row, '
            f'{guard.skipped[entry]} '
            f'in all; teacher: {teachers})'
        )

    def _gathered(self, batch: Mapping) -> list[str]:
        """What the ranks know of the batch: those whose loss is not finite speak, or else all."""
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
        kinds = (
            ['theta', 'student'] if is_theta(entry) else ['student']
        )  # an upper loss has the student in it
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
            f'(optim_wrapper.max_skipped={guard.max_skipped}'
            f"): the run stops. {said}. The largest weight of lane '{lane}' is "
            f'{sizes[largest]:.1e} ({largest}). '
            f'Last good checkpoint: {good or f"none in {self.runner.work_dir}"}. What to try: a '
            'lower '
            f'{lower}; their clip_grad=dict(max_norm=…); a look at these images; '
            'mmdynakd check teachers for the '
            'teachers (docs/faults.md)'
        )


def sample_ids(batch: Mapping) -> tuple[str, list]:
    """What names a batch's samples, and their names; their place in the batch where nothing does."""
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


def _some(items: list) -> str:
    return ', '.join(map(str, items[:SHOWN])) + (
        f', … ({len(items)})' if len(items) > SHOWN else ''
    )
