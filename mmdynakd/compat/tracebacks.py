"""What the frames of MMEngine's own functions tell about a mistake in a config.

MMEngine's errors name neither the key nor the component. The local variables of its functions,
through which the error passed, do.
"""

from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry

Frames = Sequence[tuple[FrameType, int]]
"""Frames and line numbers of a traceback, the outermost first."""


def config_at_hand(frames: Frames) -> Config | None:
    """The first config that a local variable ``cfg`` of a frame holds.

    Examples:
        >>> config_at_hand([]) is None
        True
    """
    found = (frame.f_locals.get('cfg') for frame, _ in frames)
    return next((cfg for cfg in found if isinstance(cfg, Config)), None)


def registry_at_work(frames: Frames) -> Registry | None:
    """The registry in which a component was looked up last.

    Examples:
        >>> registry_at_work([]) is None
        True
    """
    found = [frame.f_locals.get('registry') for frame, _ in frames]
    return next((one for one in reversed(found) if isinstance(one, Registry)), None)


def component_in_making(
    frames: Frames, argument: str | None = None
) -> tuple[Mapping[str, Any], Any] | None:
    """Config and class of the innermost component that was being built.

    Args:
        frames: of a traceback.
        argument: only a component that was given this argument counts.

    Examples:
        >>> from mmengine.registry import Registry
        >>> from mmdynakd.errors import frames_of
        >>> numbers = Registry('number')
        >>> numbers.register_module(module=complex)
        <class 'complex'>
        >>> try:
        ...     _ = numbers.build(dict(type='complex', imaginary=1))
        ... except TypeError as error:
        ...     component_in_making(list(frames_of(error)))
        ({'type': 'complex', 'imaginary': 1}, <class 'complex'>)
    """
    for frame, _ in reversed(frames):
        inside = frame.f_locals
        if (
            frame.f_code.co_name == 'build_from_cfg'
            and 'obj_cls' in inside
            and (argument is None or argument in inside['args'])
        ):
            return inside['cfg'], inside['obj_cls']
    return None


def absent_optimizer(frames: Frames) -> str | None:
    """The type of an optimizer that MMEngine looked up by itself and did not find.

    Examples:
        >>> absent_optimizer([]) is None
        True
    """
    for frame, _ in frames:
        if frame.f_locals.get('optimizer_cls', frame) is None:
            return str(frame.f_locals['optimizer_cfg']['type'])
    return None


def config_line(frames: Frames) -> tuple[str, int | None] | None:
    r"""File and line of the config that was being run; the line is None where it did not begin.

    Examples:
        >>> import os, tempfile
        >>> from mmdynakd.errors import frames_of
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, 'config.py')
        ...     _ = open(path, 'w').write('lr = 1\nepochs = lr / 0')
        ...     try:
        ...         _ = Config.fromfile(path)
        ...     except ZeroDivisionError as error:
        ...         config_line(list(frames_of(error)))[1]
        2
    """
    running = [place for place, (frame, _) in enumerate(frames) if _reads_config(frame)]
    if not running:
        return None
    lines = [
        (frame.f_code.co_filename, line)
        for frame, line in frames[running[-1] + 1 :]
        if frame.f_code.co_name == '<module>'
    ]
    return lines[-1] if lines else (str(frames[running[-1]][0].f_locals.get('filename')), None)


def _reads_config(frame: FrameType) -> bool:
    return frame.f_code.co_name == '_file2dict'
