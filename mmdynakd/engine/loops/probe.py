"""One look at the teachers before the first step: is their output finite, and does it vary?"""

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch.utils.data import DataLoader, IterableDataset

from mmdynakd.datasets.views import View, seeded
from mmdynakd.models.teachers import TeacherEnsemble
from mmdynakd.models.teachers.records import flatten

if TYPE_CHECKING:
    from mmdynakd.models.algorithms import DynaKD

IMAGES = 16
CONSTANT = 1e-5  # largest difference between two samples' outputs, as a share of the largest output


def probe_teachers(algorithm: 'DynaKD', dataloader: DataLoader[Any]) -> None:
    """Run each teacher that a lane employs once, on up to 16 images spread over a data set.

    Every rank looks at the same images, so that all end alike. The global generators, the order of
    the data and what teachers keep (stores, folded weights) stay as they are.

    A teacher whose output is constant is named in a warning: it teaches label smoothing, which does
    no harm and may be meant.

    Args:
        algorithm: with its lanes and teachers.
        dataloader: of the data set.

    Raises:
        ValueError: the output of a teacher is not finite on images that are.

    Examples:
        The training loops call it before their first step: ``probe_teachers(algorithm, loader)``.
    """
    names = dict.fromkeys(
        teacher for lane in algorithm.lanes.values() for teacher in lane.selection.teachers
    )
    if not names or isinstance(dataloader.dataset, IterableDataset):
        return
    inputs = algorithm.data_preprocessor(_spread(dataloader), training=False)['inputs']
    inputs = inputs[torch.isfinite(inputs).flatten(1).all(1)]
    broken = []
    for name in names if len(inputs) else ():
        outputs = flatten(algorithm.ensemble.output(name, inputs))[1]
        finite = torch.stack([torch.isfinite(own).flatten(1).all(1) for own in outputs]).all(0)
        bad = int((~finite).sum())
        if bad:
            broken.append(_complaint(algorithm.ensemble, name, bad, len(inputs)))
        elif _constant(outputs) and not _constant([inputs]):
            print_log(
                f"teacher '{name}' says the same of {len(inputs)} different images (checkpoint "
                f'{algorithm.ensemble.checkpoints[name]}): there is nothing to learn from it but '
                'label smoothing; check its weights and its data_preprocessor, mmdynakd check '
                'teachers CONFIG shows more (docs/faults.md)',
                'current',
                logging.WARNING,
            )
    if broken:
        raise ValueError(
            '; '.join(broken)
            + '. Remedy: another checkpoint, or the data_preprocessor that the teacher was trained '
            'with; mmdynakd check teachers CONFIG looks at all of val (docs/faults.md)'
        )


def _spread(dataloader: DataLoader[Any]) -> dict[str, Any]:
    """A batch of the loader's data set, collated as the loader does."""
    dataset: Any = dataloader.dataset
    places: list[Any] = np.unique(np.linspace(0, len(dataset) - 1, IMAGES).astype(int)).tolist()
    if getattr(dataset, 'takes_views', False):
        places = [View(0, place) for place in places]
    with seeded(0):
        once: DataLoader[Any] = DataLoader(
            dataset,
            len(places),
            sampler=places,
            collate_fn=dataloader.collate_fn,
            generator=torch.Generator(),
        )
        batch: dict[str, Any] = next(iter(once))
        return batch


def _constant(outputs: list[torch.Tensor]) -> bool:
    """Whether the samples of a batch have equal rows, up to rounding; a single sample says no."""
    outputs = [own.float() for own in outputs]
    return all(
        len(own) > 1 and (own.amax(0) - own.amin(0)).max() <= CONSTANT * own.abs().max()
        for own in outputs
    )


def _complaint(ensemble: TeacherEnsemble, name: str, bad: int, count: int) -> str:
    weights = [
        key
        for key, value in ensemble.networks[name].state_dict().items()
        if torch.is_tensor(value) and not torch.isfinite(value).all()
    ]
    inside = ''
    if weights:
        inside = f'; {len(weights)} of its tensors are not finite, the first is {weights[0]}'
    return (
        f"teacher '{name}' gives outputs that are not finite for {bad} of {count} training images "
        f'(checkpoint {ensemble.checkpoints[name]}{inside})'
    )
