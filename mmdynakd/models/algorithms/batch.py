"""What a step hands to the lanes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.structures import BaseDataElement

from mmdynakd.functional import Draws
from mmdynakd.models.samples import BatchViews
from mmdynakd.models.selections import Choice
from mmdynakd.models.teachers import OUTPUTS, Records


@dataclass(frozen=True)
class Batch:
    """What every lane sees in a step.

    Attributes:
        inputs: (B, C, H, W), under the student's preprocessor.
        data_samples: B samples with labels.
        labels: (B,) class indices; None where no lane asks for them.
        records: of the teachers that ran.
        draws: the step's random numbers.
        share: see :func:`share_of`.
    """

    inputs: torch.Tensor
    data_samples: list
    labels: torch.Tensor | None
    records: Records
    draws: Draws
    share: torch.Tensor | None = None


def share_of(samples: int, device: torch.device) -> torch.Tensor | None:
    """This rank's number of samples over the ranks' mean number of them; exactly 1 where all have
    as many.

    The ranks' gradients are averaged, but their last batches may differ in size. The host does not
    wait for the sum.

    Returns:
        0-dim float64; None for one process.
    """
    if get_world_size() == 1:
        return None
    total = torch.full((), samples, dtype=torch.float64, device=device)
    all_reduce(total)
    return samples * get_world_size() / total


def weighed(loss: torch.Tensor, share: torch.Tensor | None) -> torch.Tensor:
    """A mean over this rank's samples, so that the mean over the ranks is the mean over the global
    batch.
    """
    return loss if share is None else loss * share.to(loss.dtype)


@dataclass(frozen=True)
class Notes:
    """What a step was made of, kept until the next one for whoever has to explain it.

    Attributes:
        teachers: by lane, names of those that taught.
        outputs: by teacher that ran, its network's.
        losses: detached, ``lane/name``.
    """

    teachers: dict[str, list[str]]
    outputs: dict[str, Any]
    losses: dict[str, torch.Tensor | list[torch.Tensor]]

    @classmethod
    def of(
        cls,
        teachers: dict[str, list[str]],
        records: Records,
        losses: dict[str, torch.Tensor | list[torch.Tensor]],
    ) -> 'Notes':
        outputs = {name: record[OUTPUTS][0] for name, record in records.items()}
        return cls(
            teachers,
            outputs,
            {
                name: loss.detach()
                if isinstance(loss, torch.Tensor)
                else [part.detach() for part in loss]
                for name, loss in losses.items()
            },
        )


def labels_of(data_samples: list[BaseDataElement], device: torch.device) -> torch.Tensor:
    """(B,) class indices; raises ValueError for samples without one label each."""
    whole = getattr(
        data_samples, 'labels', None
    )  # of a batch that came as one, see mmdynakd.models.samples
    if whole is not None:
        return whole.to(device)
    labels = [getattr(sample, 'gt_label', None) for sample in data_samples]
    if any(label is None or label.numel() != 1 for label in labels):
        raise ValueError('a selection looks at labels, but not every data sample has one gt_label')
    return torch.cat([label.reshape(1) for label in labels]).to(device)


def views_of(data_samples: Sequence[BaseDataElement]) -> BatchViews | None:
    """Which views the samples of a batch are; None where they do not say so."""
    return getattr(data_samples, 'views', None)


def union(choices: Iterable[Choice]) -> tuple[list[str], dict[str, torch.Tensor]]:
    """Who must run for all lanes, and on which samples where not on all: ``(names, {teacher:
    rows})``.
    """
    wanted: dict[str, list] = {}
    for choice in choices:
        for teacher in choice.weights:
            wanted.setdefault(teacher, []).append(choice.rows.get(teacher))
    rows = {
        teacher: torch.cat(own).unique()
        for teacher, own in wanted.items()
        if all(r is not None for r in own)
    }
    return list(wanted), rows
