"""The one file that knows what is broken in which version; the rest of the package relies on it.

What is repaired, each by the function named:

- MMRazor 1.0.0 on torch >= 2.0: ``mmrazor.structures.quantization`` uses torch.ao names of torch
  1.13, so
  ``import mmrazor.models`` fails (MMRazor issue 615). :func:`_stub_quantization`
- MMRazor 1.0.0 with mmcv > 2.1.0 (onedl-mmcv 2.3, mmcv 2.2): an assertion on ``mmcv.__version__``
  refuses
  it, though its distillation half works. :func:`_import_mmrazor`
- MMRazor 1.0.0 ``KDSoftCELoss``: takes its criterion from mmcls, since renamed mmpretrain.
  :func:`_repair_soft_cross_entropy`
- MMEngine 0.10.7 on torch >= 2.6: ``torch.load`` is weights-only by default and refuses what the
  Runner
  saves, so ``resume`` fails. :func:`_trust_history_buffers` registers those few types; weights-only
  stays on.
- MMEngine 0.10.7 on torch < 2.6 loads with ``weights_only=False``, onedl-mmengine 0.10.12 does
  where weights-only
  is refused, and both run the config text in a checkpoint that they resume.
  :func:`.safe_load.guard_mmengine`
- The distributions of openmmlab and onedl own the same import folders; pip installs both over each
  other
  without a word. :func:`check_flavour`
"""

import codecs
import collections
import contextlib
import importlib
import pickle
import re
import sys
import types
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

QUANTIZATION = 'mmrazor.structures.quantization'
MMRAZOR_NEWEST_MMCV = '2.1.0'
# import folder -> flavour -> distributions that own the folder
OWNERS = {
    'mmengine': {'openmmlab': ('mmengine',), 'onedl': ('onedl-mmengine',)},
    'mmcv': {'openmmlab': ('mmcv', 'mmcv-lite'), 'onedl': ('onedl-mmcv',)},
    'mmpretrain': {'openmmlab': ('mmpretrain',), 'onedl': ('onedl-mmpretrain',)},
}


def install() -> None:
    """Make the installed stack usable; idempotent, and indifferent to what was imported before.

    Raises:
        ImportError: the mm packages are missing, or of two flavours (see :func:`check_flavour`).
    """
    check_flavour(_installed())
    _stub_quantization()
    _import_mmrazor()
    _trust_history_buffers()
    _repair_soft_cross_entropy()


def load_mmrazor() -> None:
    """Import MMRazor's models and engine (seconds, so not in :func:`install`); repair what they
    hold.
    """
    install()
    importlib.import_module('mmrazor.models')
    importlib.import_module('mmrazor.engine')
    _repair_soft_cross_entropy()


# --- which distributions are here -----------------------------------------------------------------


def _installed() -> set:
    names = {name for flavours in OWNERS.values() for dists in flavours.values() for name in dists}
    return {name for name in names if _version(name)}


def _version(name: str):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_flavour(installed: set) -> str:
    """Name the flavour, 'openmmlab' or 'onedl', that a set of distribution names amounts to.

    Raises:
        ImportError: two distributions own one folder, the flavours are mixed, or a folder has no
            owner.
    """
    found = {
        folder: [
            (flavour, name)
            for flavour, names in owners.items()
            for name in names
            if name in installed
        ]
        for folder, owners in OWNERS.items()
    }
    everything = sorted(name for owners in found.values() for _, name in owners)
    flavours = {flavour for owners in found.values() for flavour, _ in owners}
    if len(flavours) > 1 or any(len(owners) > 1 for owners in found.values()):
        raise ImportError(
            f'mmdynakd: {", ".join(everything)} do not go together: they hold the same packages '
            'twice, or in two '
            'flavours. Remove them all, then install one:\n  pip uninstall -y '
            f'{" ".join(everything)}\n'
            '  pip install "mmdynakd[openmmlab]"   (or "mmdynakd[onedl]")'
        )
    missing = [folder for folder, owners in found.items() if not owners]
    if missing:
        this, other = ('onedl', 'openmmlab') if flavours == {'onedl'} else ('openmmlab', 'onedl')
        hint = '' if flavours else f'   (or "mmdynakd[{other}]")'
        raise ImportError(
            f'mmdynakd needs {", ".join(missing)}, not installed here:\n'
            f'  pip install "mmdynakd[{this}]"{hint}'
        )
    return flavours.pop()


# --- MMRazor --------------------------------------------------------------------------------------


def release(version: str) -> tuple:
    """'2.11.0+cu130' -> (2, 11, 0); a pre-release counts as its release."""
    return tuple(int(part) for part in re.match(r'\d+(\.\d+)*', version).group().split('.'))


def _refuse(*args, **kwargs):
    raise ImportError(
        f'{QUANTIZATION} is not available: MMRazor 1.0.0 builds its quantization on torch.ao names '
        'that only '
        'torch 1.13 has (https://github.com/open-mmlab/mmrazor/issues/615), so mmdynakd put a '
        'stand-in there to let '
        'the rest of MMRazor import. Distillation needs none of it; to quantize, use an '
        'environment with torch 1.13.'
    )


def _refuse_name(owner, name: str):
    # Interpreter and tools probe modules for dunder names with hasattr, which must go on saying
    # "no".
    if name.startswith('__'):
        raise AttributeError(name)
    _refuse()


class _Unusable:
    """A name that can be imported and nothing else: calls, attributes, items and subclassing are
    refused.
    """

    __call__ = __getitem__ = __instancecheck__ = __mro_entries__ = _refuse
    __getattr__ = _refuse_name


def _stub_quantization() -> None:
    import torch

    if release(torch.__version__) < (2, 0) or QUANTIZATION in sys.modules:
        return
    stub = types.ModuleType(
        QUANTIZATION, 'Stand-in put here by mmdynakd.compat: see its first lines.'
    )
    stub.BackendConfigs, stub.QConfigHandler = _Unusable(), _Unusable()
    stub.__all__ = ['BackendConfigs', 'QConfigHandler']  # mmrazor.structures imports * from it
    stub.__getattr__ = lambda name: _refuse_name(stub, name)
    sys.modules[QUANTIZATION] = stub


def _import_mmrazor() -> None:
    """Import MMRazor's top package (half a second), which asserts mmcv <= 2.1.0: mmcv reads so
    meanwhile.
    """
    import mmcv

    true_version = mmcv.__version__
    if 'mmrazor' in sys.modules or release(true_version) <= release(MMRAZOR_NEWEST_MMCV):
        importlib.import_module('mmrazor')
        return
    mmcv.__version__ = MMRAZOR_NEWEST_MMCV
    try:
        importlib.import_module('mmrazor')
    finally:
        mmcv.__version__ = true_version


def _soft_cross_entropy(*args, **kwargs):
    """MMPretrain's own, imported when first used: its models take seconds to import."""
    from mmpretrain.models.losses.cross_entropy_loss import soft_cross_entropy

    return soft_cross_entropy(*args, **kwargs)


def _repair_soft_cross_entropy() -> None:
    module = sys.modules.get('mmrazor.models.losses.kd_soft_ce_loss')
    # MMRazor's placeholder for the absent mmcls is a class; the true criterion is a function.
    if module is not None and isinstance(getattr(module, 'soft_cross_entropy', None), type):
        module.soft_cross_entropy = _soft_cross_entropy


# --- weights-only loading of what MMEngine's Runner saves -----------------------------------------


def _history_statistic(owner, name: str):
    """Stands for ``builtins.getattr``, by which a pickled HistoryBuffer names its statistics; does
    only that.

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


def runner_globals() -> dict:
    """Pickled name -> object, for what the message hub of a MMEngine checkpoint holds beyond plain
    tensors.
    """
    import numpy as np
    from mmengine.logging.history_buffer import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

    table = {
        'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
        'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler': OneCycleParamScheduler,
        'builtins.getattr': _history_statistic,
        'numpy.ndarray': np.ndarray,
        'numpy.dtype': np.dtype,
        # in torch's own list since 2.6
        '_codecs.encode': codecs.encode,
        'collections.Counter': collections.Counter,
    }
    for module in (
        'numpy.core.multiarray',
        'numpy._core.multiarray',
    ):  # numpy 1 and numpy 2 call it so
        table[f'{module}._reconstruct'] = np.ones(1).__reduce__()[0]
        table[f'{module}.scalar'] = np.float64(1).__reduce__()[0]
    for code in '?bhilqBHILQefdFDU':  # plain numbers and text; no objects, no records
        kind = type(np.dtype(code))
        table[f'{kind.__module__}.{kind.__qualname__}'] = kind
    return table


def _trust_history_buffers() -> None:
    import torch

    version, table = release(torch.__version__), runner_globals()
    if version >= (2, 6):
        # As (object, name): onedl-mmengine's loader withdraws the bare objects again after each
        # load.
        torch.serialization.add_safe_globals([(value, name) for name, value in table.items()])
    elif version >= (2, 4):
        # Objects only there, known by their own names: numpy's other spelling is out of reach.
        _history_statistic.__module__, _history_statistic.__name__ = 'builtins', 'getattr'
        _history_statistic.__qualname__ = 'getattr'
        torch.serialization.add_safe_globals(list(dict.fromkeys(table.values())))


# --- torch: what models look at -------------------------------------------------------------------


def is_batch_norm(module: 'nn.Module') -> bool:
    """Whether a module is a BatchNorm of torch, of any number of dimensions, or derives from one.

    Args:
        module: Any module.

    Examples:
        >>> from torch import nn
        >>> is_batch_norm(nn.LazyBatchNorm2d()), is_batch_norm(nn.InstanceNorm2d(3))
        (True, False)
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    return isinstance(module, _BatchNorm)


def has_forward_hooks(module: 'nn.Module') -> bool:
    """Whether a forward hook or a forward pre-hook is registered on the module itself.

    Args:
        module: Any module; its children do not count.

    Examples:
        >>> from torch import nn
        >>> layer = nn.Linear(1, 1)
        >>> handle = layer.register_forward_hook(lambda *_: None)
        >>> has_forward_hooks(layer), has_forward_hooks(nn.Sequential(layer))
        (True, False)
    """
    return bool(module._forward_hooks or module._forward_pre_hooks)


def observe_operators(
    seen: Callable[[Iterable[Any]], None],
) -> contextlib.AbstractContextManager[Any]:
    """Show the arguments of every operator that torch runs inside a ``with`` block.

    An operator is what torch dispatches, below modules, functions and autograd: nothing that reads
    a tensor goes unseen.

    Args:
        seen: Called before each operator with the values of its arguments.

    Examples:
        >>> import torch
        >>> counts = []
        >>> with observe_operators(lambda arguments: counts.append(len(arguments))):
        ...     _ = torch.ones(2) + torch.ones(2)
        >>> counts[-1]
        2
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    class Observer(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is untyped
        def __torch_dispatch__(
            self,
            func: Callable[..., Any],
            types: tuple[type, ...],
            args: tuple[Any, ...] = (),
            kwargs: dict[str, Any] | None = None,
        ) -> Any:
            named = kwargs or {}
            seen((*args, *named.values()))
            return func(*args, **named)

    return Observer()  # type: ignore[no-untyped-call]  # as above
