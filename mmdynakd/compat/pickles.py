"""Which types a checkpoint of MMEngine's Runner may hold beyond plain tensors.

On torch >= 2.6 ``torch.load`` is weights-only by default and refuses what the Runner saves, so
``resume`` fails (MMEngine 0.10.7). The few types that it needs are registered here; weights-only
stays on. :mod:`mmdynakd.safe_load` takes care of older torch versions, and of the config text that
MMEngine would run.
"""

import codecs
import collections
import functools
import pickle
from collections.abc import Callable
from typing import Any

from .releases import release


def _history_statistic(owner: Any, name: str) -> Any:
    """Stands for ``builtins.getattr``, by which a HistoryBuffer names its statistics.

    Raises:
        pickle.UnpicklingError: any other owner or name.
    """
    import torch
    from mmengine.logging.history_buffer import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(owner, name)
    if owner is OneCycleParamScheduler and name in ('_annealing_cos', '_annealing_linear'):
        return getattr(owner, name)
    allowed = getattr(torch.serialization, 'get_safe_globals', list)  # torch >= 2.4
    if getattr in allowed():  # the user trusts the true one
        return getattr(owner, name)
    raise pickle.UnpicklingError(f'a checkpoint may not look up getattr({owner!r}, {name!r})')


def runner_globals() -> dict[str, Any]:
    """The objects that a checkpoint of MMEngine's Runner asks for, by the names it uses.

    Examples:
        >>> runner_globals()['collections.Counter']
        <class 'collections.Counter'>
    """
    import numpy as np
    from mmengine.logging.history_buffer import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

    table: dict[str, Any] = {
        'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
        'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler': OneCycleParamScheduler,
        'builtins.getattr': _history_statistic,
        'numpy.ndarray': np.ndarray,
        'numpy.dtype': np.dtype,
        # in torch's own list since 2.6
        '_codecs.encode': codecs.encode,
        'collections.Counter': collections.Counter,
    }
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):  # numpy 1 and numpy 2
        table[f'{module}._reconstruct'] = np.ones(1).__reduce__()[0]
        table[f'{module}.scalar'] = np.float64(1).__reduce__()[0]
    for code in '?bhilqBHILQefdFDU':  # plain numbers and text; no objects, no records
        kind = type(np.dtype(code))
        table[f'{kind.__module__}.{kind.__qualname__}'] = kind
    return table


def checkpoint_loaders() -> dict[str, Callable[..., Any]]:
    """MMEngine's functions that load a checkpoint, by the beginning of the path that they load.

    Examples:
        >>> 'https://' in checkpoint_loaders()
        True
    """
    from mmengine.runner.checkpoint import CheckpointLoader

    return dict(CheckpointLoader._schemes)


@functools.cache
def trust_history_buffers() -> None:
    """Register the types of :func:`runner_globals` with torch's weights-only loading.

    Examples:
        >>> trust_history_buffers()
    """
    import torch

    version, table = release(torch.__version__), runner_globals()
    if version >= (2, 6):
        # As (object, name): onedl-mmengine's loader withdraws bare objects again after each load.
        torch.serialization.add_safe_globals([(value, name) for name, value in table.items()])
    elif version >= (2, 4):
        # There objects are known by their own names: numpy's other spelling is out of reach.
        _history_statistic.__module__, _history_statistic.__name__ = 'builtins', 'getattr'
        _history_statistic.__qualname__ = 'getattr'
        torch.serialization.add_safe_globals(list(dict.fromkeys(table.values())))
