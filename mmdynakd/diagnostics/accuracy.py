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

Z_LIMIT = 3.0  # standard errors
POINTS_LIMIT = 3.0  # percentage points


@dataclass(frozen=True)
class Predictions:
    """Of n teachers on the N samples of a split.

    Attributes:
        labels: (N,) class indices.
        predicted: ``{teacher: (N,) class indices}``, the argmax of its logits.
        confidence: ``{teacher: (N,)}``, the largest probability of its softmax.
        classes: ``{teacher: C}``, the width of its logits.
        images_per_second: ``{teacher: …}``, its preprocessor and its forward pass, without the
            loader.
    """

    labels: torch.Tensor
    predicted: Mapping[str, torch.Tensor]
    confidence: Mapping[str, torch.Tensor]
    classes: Mapping[str, int]
    images_per_second: Mapping[str, float]


def check_teachers(
    val: Predictions, test: Predictions | None = None, facts: Mapping[str, Mapping] | None = None
) -> dict:
    """What ``tools/check_teachers.py`` reports.

    Args:
        val: predictions on the validation split.
        test: those on the test split, used for one warning alone; None leaves it out.
        facts: by teacher, ``parameters``, ``multiply_adds`` and ``published`` (accuracy in per
            cent), each optional.

    Returns:
        ``samples`` of each split, ``teachers`` (a row each: accuracies, confidence and images/s as
        numbers, per cent where they are parts of a whole), ``agreement`` ``{teacher: {teacher:
        fraction}}`` and ``warnings``.
    """
    rows = [_row(name, val, test, (facts or {}).get(name, {})) for name in val.predicted]
    return dict(
        samples={'val': len(val.labels), **({'test': len(test.labels)} if test else {})},
        teachers=rows,
        agreement=agreement(val),
        warnings=[line for row in rows for line in row['warnings']],
    )


def accuracy(predictions: Predictions, name: str) -> float:
    """Top-1 in per cent."""
    return 100 * right(predictions, name) / len(predictions.labels)


def right(predictions: Predictions, name: str) -> int:
    """How many predictions are the label."""
    return int((predictions.predicted[name] == predictions.labels).sum())


def agreement(predictions: Predictions) -> dict[str, dict[str, float]]:
    """Fraction of the samples on which two teachers predict the same class, right or wrong."""
    classes = predictions.predicted
    return {
        first: {
            second: float((classes[first] == classes[second]).double().mean()) for second in classes
        }
        for first in classes
    }


def renumbered_accuracy(predicted: torch.Tensor, labels: torch.Tensor, classes: int) -> float:
    """Top-1 in per cent under the best one-to-one renumbering of the classes, (N,) and (N,)
    indices.

    High where the accuracy is at chance, it says that the teacher knows its classes under other
    numbers.
    """
    counts = torch.zeros(classes, classes, dtype=torch.long)
    known = labels < classes
    counts.index_put_(
        (predicted[known], labels[known]), torch.ones_like(labels[known]), accumulate=True
    )
    rows, columns = linear_sum_assignment(counts.numpy(), maximize=True)
    return 100 * float(counts[rows, columns].sum()) / len(labels)


def _row(name: str, val: Predictions, test: Predictions | None, facts: Mapping) -> dict:
    confidence = val.confidence[name]
    row = dict(
        name=name,
        val=accuracy(val, name),
        test=accuracy(test, name) if test else None,
        published=facts.get('published'),
        confidence=100 * float(confidence.double().mean()),
        ece=100 * expected_calibration_error(confidence, val.predicted[name] == val.labels),
        parameters=facts.get('parameters'),
        multiply_adds=facts.get('multiply_adds'),
        images_per_second=val.images_per_second[name],
    )
    chance = _near_chance(name, val)
    found = (
        (chance,)
        if chance
        else (
            _seen_val(name, val, test, row['published']),
            _below_published(name, val, test, row['published']),
        )
    )
    row['warnings'] = [f'{name}: {text}' for text in found if text]
    return row


def _near_chance(name: str, val: Predictions) -> str | None:
    """Accuracy below 2/C (for C = 2 below halfway, 3/4), or less than 3 standard errors above 1/C."""
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
    order = renumbered > 100 * min(10 * chance, 0.5) and renumbered > 300 * count / total
    cause = (
        f'with its classes renumbered it has {renumbered:.1f} %: it was trained with another order '
        'of the classes'
        if order
        else (
            f'look at mean, std and to_rgb of model.teachers.{name}.model.data_preprocessor, at '
            "channel_order of the data set, and at the checkpoint's own training"
        )
    )
    return f'{100 * count / total:.2f} % on val is near chance ({100 * chance:.2f} %); {cause}'


def _seen_val(
    name: str, val: Predictions, test: Predictions | None, published: float | None
) -> str | None:
    """Better on val than on unseen images by more than 3 points and 3 standard errors."""
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
        f'{100 * count / total:.2f} % on val against {other:.2f} % ({what}), z = {z:.1f}: it has '
        'probably been '
        'trained on the images of val, so that θ, which is chosen on val, will favour it'
    )


def _below_published(
    name: str, val: Predictions, test: Predictions | None, published: float | None
) -> str | None:
    """Below its published accuracy by more than 3 points and 3 standard errors."""
    if published is None or not 0 < published < 100:
        return None
    split, data = ('test', test) if test is not None else ('val', val)
    z = one_proportion_z(right(data, name), len(data.labels), published / 100)
    measured = accuracy(data, name)
    if z >= -Z_LIMIT or published - measured <= POINTS_LIMIT:
        return None
    return (
        f'{measured:.2f} % on {split}, published {published:.2f} %: its input is perhaps not '
        'normalised as in its '
        f'training (mean, std, to_rgb of model.teachers.{name}.model.data_preprocessor), or it is '
        'another file'
    )
