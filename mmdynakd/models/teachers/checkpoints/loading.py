"""Load a teacher's checkpoint into a model, whatever its layout."""

import os
from collections.abc import Mapping
from typing import Any

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
    checkpoint: str | os.PathLike[str] | Mapping[str, Any],
    *,
    name: str,
    train_command: str | None = None,
    source: str | None = None,
) -> str:
    """Load the weights in a checkpoint into a model: all of them, or none.

    Args:
        model: A classifier of MMPretrain, or any module whose names the file has.
        checkpoint: A local path, an ``https://`` URL, or ``dict(path=…, part=…, sha256=…)`` of
            one. A downloaded file is kept in ``torch.hub.get_dir()/checkpoints``, and checked if
            its name has a SHA-256 prefix, as ``resnet20-23dac2f1.pt`` does. ``part`` is needed if
            the file holds several networks: ``'student'``, ``'teacher'``, the name of a lane, or
            ``'ema_state_dict'``. With ``sha256`` (all or at least the first 8 digits) the file is
            checked against that.
        name: The teacher's name, for messages.
        train_command: The command that trains this teacher, for messages.
        source: Where the file is from, for messages.

    Returns:
        The layout found, see :func:`~mmdynakd.models.teachers.checkpoints.layouts.recognise`.

    Raises:
        CheckpointError: If the file is missing or damaged, holds more than tensors (nothing of it
            is executed), holds no state dict, holds several networks while ``part`` is not given,
            or is of another architecture. The model is unchanged then.

    Examples:
        >>> import tempfile, torch
        >>> model = nn.Linear(2, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({'state_dict': nn.Linear(2, 1).state_dict()}, f'{folder}/teacher.pth')
        ...     load_checkpoint_into(model, f'{folder}/teacher.pth', name='teacher')
        'state_dict/same'
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
    checkpoint: str | os.PathLike[str] | Mapping[str, Any], name: str
) -> tuple[str, str | None, str | None]:
    """Path or URL, part and sha256."""
    given: Mapping[str, Any] = (
        checkpoint if isinstance(checkpoint, Mapping) else dict(path=checkpoint)
    )
    path, part = given.get('path'), given.get('part')
    unknown = unknown_names(given, KEYS)
    if (
        unknown
        or not path
        or not isinstance(path, (str, os.PathLike))
        or not isinstance(part, (str, type(None)))
    ):
        raise CheckpointError(
            f"Teacher '{name}': checkpoint must be a path, a URL or "
            f'dict(path=…, part=…, sha256=…), got {given!r}'
            f'{f"; unknown: {unknown}" if unknown else ""}'
        )
    return str(path), part, given.get('sha256')


def _say_average(name: str, averages: list[str], layout: str) -> None:
    """Say which weights were taken, because MMEngine's EMA hook saves them swapped."""
    if not averages:
        return
    taken = layout.split('/')[0]
    others = ', '.join(key for key in averages if key != taken)
    left = f'; part={others!r} takes the other' if others else ''
    swapped = (
        " (MMEngine's EMA hook swaps the two: state_dict holds the average)"
        if 'ema_state_dict' in averages
        else ''
    )
    print_log(
        f"teacher '{name}': took {taken!r} of a checkpoint that also holds an average of the "
        f'weights{swapped}{left}',
        'current',
    )
