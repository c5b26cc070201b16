"""Are the teachers what their user thinks? Pure functions on their predictions."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment

from mmdynakd.functional.calibration import (
    expected_calibration_error,
    one_proportion_z,
    two_proportion_z,
)
from mmdynakd.values import CheckedTeacher, TeacherReport

Z_LIMIT = 3.0  # standard errors
POINTS_LIMIT = 3.0  # percentage points


@dataclass(frozen=True)
class Predictions:
    """What n teachers say about the N samples of a split.

    Attributes:
        labels: (N,) class indices.
        predicted: ``{teacher: (N,) class indices}``, the argmax of its logits.
        confidence: ``{teacher: (N,)}``, the largest probability of its softmax.
        classes: ``{teacher: C}``, the width of its logits.
        images_per_second: ``{teacher: …}``, its preprocessor and its forward pass, without the
            loader.

    Examples:
        >>> split = Predictions(
        ...     labels=torch.tensor([0, 1]),
        ...     predicted=dict(a=torch.tensor([0, 0])),
        ...     confidence=dict(a=torch.tensor([0.9, 0.6])),
        ...     classes=dict(a=2),
        ...     images_per_second=dict(a=100.0),
        ... )
        >>> accuracy(split, 'a')
        50.0
    """

    labels: torch.Tensor
    predicted: Mapping[str, torch.Tensor]
    confidence: Mapping[str, torch.Tensor]
    classes: Mapping[str, int]
    images_per_second: Mapping[str, float]


@dataclass(frozen=True)
class TeacherFacts:
    """What is known of a teacher without its predictions; None where it is not.

    Attributes:
        parameters: numbers of the network.
        multiply_adds: of one image.
        published: top-1 on test, in per cent, from its config.

    Examples:
        >>> TeacherFacts(published=71.0).parameters is None
        True
    """

    parameters: int | None = None
    multiply_adds: int | None = None
    published: float | None = None


def check_teachers(
    val: Predictions,
    test: Predictions | None = None,
    facts: Mapping[str, TeacherFacts] | None = None,
) -> TeacherReport:
    """Checks what teachers say about a split, and warns of what is probably wrong with them.

    Args:
        val: predictions on the validation split.
        test: those on the test split; they serve a column and one warning. None leaves them out.
        facts: ``{teacher: TeacherFacts}``, for some or all teachers.

    Returns:
        The report, a row for each teacher in the order of ``val``.

    Examples:
        >>> split = Predictions(
        ...     labels=torch.tensor([0, 1, 2, 3]),
        ...     predicted=dict(a=torch.tensor([0, 1, 2, 0])),
        ...     confidence=dict(a=torch.tensor([0.9, 0.8, 0.9, 0.4])),
        ...     classes=dict(a=4),
        ...     images_per_second=dict(a=100.0),
        ... )
        >>> report = check_teachers(split)
        >>> report.teachers[0].val, round(report.teachers[0].confidence, 2)
        (75.0, 75.0)
    """
    facts = facts or {}
    rows = [_checked(name, val, test, facts.get(name, TeacherFacts())) for name in val.predicted]
    samples = {'val': len(val.labels)}
    if test is not None:
        samples['test'] = len(test.labels)
    return TeacherReport(
        samples=samples,
        teachers=tuple(rows),
        agreement=agreement(val),
        warnings=tuple(line for row in rows for line in row.warnings),
    )


def accuracy(predictions: Predictions, name: str) -> float:
    """Top-1 accuracy of a teacher, in per cent.

    Examples:
        >>> split = Predictions(torch.tensor([0, 1]), dict(a=torch.tensor([0, 0])), {}, {}, {})
        >>> accuracy(split, 'a')
        50.0
    """
    return 100 * right(predictions, name) / len(predictions.labels)


def right(predictions: Predictions, name: str) -> int:
    """Counts the samples on which a teacher predicts the label.

    Examples:
        >>> split = Predictions(torch.tensor([0, 1]), dict(a=torch.tensor([0, 0])), {}, {}, {})
        >>> right(split, 'a')
        1
    """
    return int((predictions.predicted[name] == predictions.labels).sum())


def agreement(predictions: Predictions) -> dict[str, dict[str, float]]:
    """Fraction of the samples on which two teachers predict the same class, right or wrong.

    Returns:
        ``{teacher: {teacher: fraction}}``, symmetric, 1 on the diagonal.

    Examples:
        >>> predicted = dict(a=torch.tensor([0, 0]), b=torch.tensor([0, 1]))
        >>> agreement(Predictions(torch.tensor([0, 1]), predicted, {}, {}, {}))['a']
        {'a': 1.0, 'b': 0.5}
    """
    classes = predictions.predicted
    return {
        first: {
            second: float((classes[first] == classes[second]).double().mean()) for second in classes
        }
        for first in classes
    }


def renumbered_accuracy(predicted: torch.Tensor, labels: torch.Tensor, classes: int) -> float:
    """Top-1 in per cent under the best one-to-one renumbering of the classes.

    Where the accuracy is at chance and this one is high, the teacher knows its classes under other
    numbers: it was trained with another order of them.

    Args:
        predicted: (N,) class indices.
        labels: (N,) class indices; those of C and above count as wrong.
        classes: C.

    Examples:
        >>> labels = torch.tensor([0, 1, 2])
        >>> renumbered_accuracy((labels + 1) % 3, labels, 3)
        100.0
    """
    counts = torch.zeros(classes, classes, dtype=torch.long)
    known = labels < classes
    counts.index_put_(
        (predicted[known], labels[known]), torch.ones_like(labels[known]), accumulate=True
    )
    rows, columns = linear_sum_assignment(counts.numpy(), maximize=True)
    return 100 * float(counts[rows, columns].sum()) / len(labels)


def _checked(
    name: str, val: Predictions, test: Predictions | None, facts: TeacherFacts
) -> CheckedTeacher:
    confidence = val.confidence[name]
    return CheckedTeacher(
        name=name,
        val=accuracy(val, name),
        test=accuracy(test, name) if test is not None else None,
        published=facts.published,
        confidence=100 * float(confidence.double().mean()),
        ece=100 * expected_calibration_error(confidence, val.predicted[name] == val.labels),
        parameters=facts.parameters,
        multiply_adds=facts.multiply_adds,
        images_per_second=val.images_per_second[name],
        warnings=tuple(f'{name}: {text}' for text in _warnings(name, val, test, facts.published)),
    )


def _warnings(
    name: str, val: Predictions, test: Predictions | None, published: float | None
) -> list[str]:
    chance = _near_chance(name, val)
    if chance is not None:
        return [chance]  # it explains whatever else is odd
    found = _seen_val(name, val, test, published), _below_published(name, val, test, published)
    return [text for text in found if text is not None]


def _near_chance(name: str, val: Predictions) -> str | None:
    """Warns of an accuracy below 2/C (for C = 2, below 3/4) or within 3 standard errors of 1/C."""
    classes, count, total = val.classes[name], right(val, name), len(val.labels)
    if classes < 2:
        return None
    chance = 1 / classes
    if (
        count / total >= min(2 * chance, (1 + chance) / 2)
        and one_proportion_z(count, total, chance) > Z_LIMIT
    ):
        return None
    renumbered = renumbered_accuracy(val.predicted[name], val.labels, classes)
    if renumbered > 100 * min(10 * chance, 0.5) and renumbered > 300 * count / total:
        cause = (
            f'with its classes renumbered it has {renumbered:.1f} %: it was trained with another '
            'order of the classes'
        )
    else:
        cause = (
            f'look at mean, std and to_rgb of model.teachers.{name}.model.data_preprocessor, at '
            "channel_order of the data set, and at the checkpoint's own training"
        )
    return f'{100 * count / total:.2f} % on val is near chance ({100 * chance:.2f} %); {cause}'


def _seen_val(
    name: str, val: Predictions, test: Predictions | None, published: float | None
) -> str | None:
    """Warns where val is above unseen images by more than 3 points and 3 standard errors."""
    count, total = right(val, name), len(val.labels)
    if test is not None:
        other, what = accuracy(test, name), 'test'
        z = two_proportion_z(count, total, right(test, name), len(test.labels))
    elif published is not None and 0 < published < 100:
        other, what = published, 'its published accuracy on test'
        z = one_proportion_z(count, total, published / 100)
    else:
        return None
    if z <= Z_LIMIT or 100 * count / total - other <= POINTS_LIMIT:
        return None
    return (
        f'{100 * count / total:.2f} % on val against {other:.2f} % ({what}), z = {z:.1f}: it was '
        'probably trained on the images of val, so θ, which is learned on val, will favour it'
    )


def _below_published(
    name: str, val: Predictions, test: Predictions | None, published: float | None
) -> str | None:
    """Warns of more than 3 points and 3 standard errors below the published accuracy."""
    if published is None or not 0 < published < 100:
        return None
    split, data = ('test', test) if test is not None else ('val', val)
    z = one_proportion_z(right(data, name), len(data.labels), published / 100)
    measured = accuracy(data, name)
    if z >= -Z_LIMIT or published - measured <= POINTS_LIMIT:
        return None
    return (
        f'{measured:.2f} % on {split}, published {published:.2f} %: its input is perhaps not '
        f'normalised as in its training (mean, std, to_rgb of '
        f'model.teachers.{name}.model.data_preprocessor), or the checkpoint is another one'
    )
