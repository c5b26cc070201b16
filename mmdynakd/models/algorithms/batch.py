"""What a step hands to the lanes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.structures import BaseDataElement

from mmdynakd.functional import Draws
from mmdynakd.models.samples import BatchViews
from mmdynakd.models.selections import Choice
from mmdynakd.models.teachers import OUTPUTS, Records

Losses = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Batch:
    """What every lane sees in a step.

    Attributes:
        inputs: (B, C, H, W), after the student's preprocessor.
        data_samples: B samples with labels.
        labels: (B,) class indices; None if no lane asks for them.
        records: Those of the teachers that ran.
        draws: The step's random numbers.
        share: See :func:`share_of`.

    Examples:
        >>> inputs = torch.zeros(2, 3, 8, 8)
        >>> Batch(inputs, [], None, records={}, draws=Draws(seed=0, step=0)).share is None
        True
    """

    inputs: torch.Tensor
    data_samples: Sequence[BaseDataElement]
    labels: torch.Tensor | None
    records: Records
    draws: Draws
    share: torch.Tensor | None = None


def share_of(samples: int, device: torch.device) -> torch.Tensor | None:
    """Return this rank's number of samples divided by the ranks' mean number of samples.

    The ranks' gradients are averaged, but their last batches may differ in size. The share is
    exactly 1 if all have the same size. The host does not wait for the sum.

    Args:
        samples: In this rank's batch.
        device: Where the result goes.

    Returns:
        0-dim float64; None for a single process.

    Examples:
        >>> share_of(64, torch.device('cpu')) is None
        True
    """
    if get_world_size() == 1:
        return None
    total = torch.full((), samples, dtype=torch.float64, device=device)
    all_reduce(total)
    share: torch.Tensor = samples * get_world_size() / total
    return share


def weighed(loss: torch.Tensor, share: torch.Tensor | None) -> torch.Tensor:
    """Multiply a mean over this rank's samples by the rank's share.

    The mean over the ranks is then the mean over the global batch.

    Args:
        loss: A scalar.
        share: See :func:`share_of`.

    Examples:
        >>> weighed(torch.tensor(2.0), torch.tensor(0.5, dtype=torch.float64))
        tensor(1.)
    """
    return loss if share is None else loss * share.to(loss.dtype)


@dataclass(frozen=True)
class Notes:
    """What a step consisted of, kept until the next one for whoever has to explain it.

    Attributes:
        teachers: Names of those that taught, by lane.
        outputs: Outputs of the networks that ran, by teacher.
        losses: Detached, ``lane/name``.

    Examples:
        >>> loss = torch.ones((), requires_grad=True)
        >>> notes = Notes.of({'search': ['strong']}, {}, {'search/loss_kl': loss})
        >>> notes.losses['search/loss_kl'].requires_grad
        False
    """

    teachers: Mapping[str, list[str]]
    outputs: Mapping[str, Any]
    losses: Mapping[str, torch.Tensor | list[torch.Tensor]]

    @classmethod
    def of(
        cls,
        teachers: Mapping[str, list[str]],
        records: Records,
        losses: Mapping[str, torch.Tensor | list[torch.Tensor]],
    ) -> 'Notes':
        """Note a step.

        Args:
            teachers: Names of those that taught, by lane.
            records: Those of the teachers that ran.
            losses: ``lane/name``.
        """
        outputs = {name: record[OUTPUTS][0] for name, record in records.items()}
        return cls(teachers, outputs, {name: _detached(loss) for name, loss in losses.items()})


def _detached(loss: torch.Tensor | list[torch.Tensor]) -> torch.Tensor | list[torch.Tensor]:
    if isinstance(loss, torch.Tensor):
        return loss.detach()
    return [part.detach() for part in loss]


def labels_of(data_samples: Sequence[BaseDataElement], device: torch.device) -> torch.Tensor:
    """Return the labels of a batch, (B,) class indices.

    Args:
        data_samples: B samples.
        device: Where the labels go.

    Raises:
        ValueError: For samples without one label each.

    Examples:
        >>> from mmpretrain.structures import DataSample
        >>> labels_of([DataSample().set_gt_label(i) for i in (2, 0)], torch.device('cpu'))
        tensor([2, 0])
    """
    whole: torch.Tensor | None = getattr(data_samples, 'labels', None)  # of a Samples
    if whole is not None:
        return whole.to(device)
    labels: list[torch.Tensor] = []
    for sample in data_samples:
        label: torch.Tensor | None = getattr(sample, 'gt_label', None)
        if label is None or label.numel() != 1:
            raise ValueError(
                'a selection looks at labels, but not every data sample has one gt_label'
            )
        labels.append(label.reshape(1))
    return torch.cat(labels).to(device)


def views_of(data_samples: Sequence[BaseDataElement]) -> BatchViews | None:
    """Return which views the samples of a batch are; None if they do not say.

    Examples:
        >>> from mmdynakd.models.samples import Samples
        >>> views_of(Samples([], None, BatchViews('cifar', 50000, torch.tensor([3])))).source
        'cifar'
        >>> views_of([]) is None
        True
    """
    return getattr(data_samples, 'views', None)


def union(choices: Iterable[Choice]) -> tuple[list[str], dict[str, torch.Tensor]]:
    """Say who must run for all lanes, and on which samples if not on all.

    Args:
        choices: One per lane.

    Returns:
        The teachers' names, and ``{teacher: (k,) indices}`` of those that need not see all samples.

    Examples:
        >>> rows = {'a': torch.tensor([0]), 'b': torch.tensor([1])}
        >>> drawn = Choice({'a': 1.0, 'b': 1.0}, rows=rows)
        >>> union([drawn, Choice({'b': 1.0})])
        (['a', 'b'], {'a': tensor([0])})
    """
    wanted: dict[str, list[torch.Tensor | None]] = {}
    for choice in choices:
        for teacher in choice.weights:
            wanted.setdefault(teacher, []).append(choice.rows.get(teacher))
    rows: dict[str, torch.Tensor] = {}
    for teacher, own in wanted.items():
        parts = [part for part in own if part is not None]
        if len(parts) == len(own):
            rows[teacher] = torch.unique(torch.cat(parts))
    return list(wanted), rows
