"""Load a teacher's checkpoint into a model, whatever its layout."""

import os
from collections.abc import Mapping

from mmengine.logging import print_log
from torch import nn

from mmdynakd.downloads import resolve_checkpoint
from mmdynakd.errors import CheckpointError
from mmdynakd.names import unknown_names
from mmdynakd.safe_load import read_checkpoint

from .containers import averages_in
from .layouts import LayoutError, match, recognise

__all__ = ['CheckpointError', 'load_checkpoint_into']

KEYS = ('path', 'part', 'sha256')


def load_checkpoint_into(
    model: nn.Module,
    checkpoint: str | os.PathLike | Mapping,
    *,
    name: str,
    train_command: str | None = None,
    source: str | None = None,
) -> str:
    """Load the weights in ``checkpoint`` into ``model``, all of them or none.

    Args:
        model: An MMPretrain classifier, or any module whose names the file has.
        checkpoint: A local path, or an ``https://`` URL, whose file is kept in
            ``torch.hub.get_dir()/checkpoints`` and checked against the SHA-256 prefix in a name
            such as ``resnet20-23dac2f1.pt``. Where the file holds several networks, ``dict(path=…,
            part=…)``: ``part`` is ``'student'``, ``'teacher'``, the name of a lane, or
            ``'ema_state_dict'``. ``dict(path=…, sha256=…)`` checks the file against that (or its
            first 8 or more digits).
        name: The teacher's name, for messages.
        train_command: The command that trains this teacher, for messages.
        source: Where the file is from, for messages.

    Returns:
        The layout found, see :func:`~mmdynakd.models.teachers.layouts.recognise`.

    Raises:
        CheckpointError: If the file is missing, damaged, holds more than tensors (it is not
            executed then), holds no state dict, several networks and no ``part``, or is of another
            architecture. The model is unchanged.
    """
    given, part, sha256 = _place(checkpoint, name)
    shown = given
    try:
        path = resolve_checkpoint(given, sha256)
        shown = str(path)
        payload, own = read_checkpoint(path), model.state_dict()
        layout, weights = recognise(payload, own, part)
        model.load_state_dict(match(weights, own), strict=True)
    except (CheckpointError, LayoutError, OSError) as error:
        what = (
            str(error).removeprefix(f'{shown} ')
            if isinstance(error, ValueError)
            else f'cannot be read ({error})'
        )
        origin = '' if shown == given else f' (given as {given})'
        remedy = f' It is from: {source}.' if source else ''
        remedy += f' The command that trains this teacher: {train_command}' if train_command else ''
        raise CheckpointError(
            f"Teacher '{name}': the checkpoint {shown}{origin} {what}.{remedy}"
        ) from error
    _say_average(name, averages_in(payload), layout)
    return layout


def _place(
    checkpoint: str | os.PathLike | Mapping, name: str
) -> tuple[str, str | None, str | None]:
    """Path or URL, part and sha256."""
    given = checkpoint if isinstance(checkpoint, Mapping) else dict(path=checkpoint)
    path, part = given.get('path'), given.get('part')
    unknown = unknown_names(given, KEYS)
    if (
        unknown
        or not path
        or not isinstance(path, (str, os.PathLike))
        or not isinstance(part, (str, type(None)))
    ):
        raise CheckpointError(
            f"Teacher '{name}': checkpoint must be a path, a URL or dict(path=…, part=…, "
            'sha256=…), '
            f'got {given!r}{f"; unknown: {unknown}" if unknown else ""}'
        )
    return str(path), part, given.get('sha256')


def _say_average(name: str, averages: list[str], layout: str) -> None:
    """MMEngine's EMA hook saves the average as ``state_dict`` and the plain weights as
    ``ema_state_dict``.
    """
    taken = layout.split('/')[0]
    others = ', '.join(key for key in averages if key != taken)
    if averages:
        left = f'; part={others!r} takes the other' if others else ''
        swapped = (
            " (MMEngine's EMA hook swaps the two: state_dict holds the average)"
            if 'ema_state_dict' in averages
            else ''
        )
        print_log(
            f"teacher '{name}': took {taken!r} of a checkpoint with an average of the "
            f'weights{swapped}{left}',
            'current',
        )
