"""What keeps MMRazor 1.0.0 from importing, or from working, on today's stack.

- On torch >= 2.0 ``mmrazor.structures.quantization`` uses torch.ao names of torch 1.13, so
  ``import mmrazor.models`` fails (MMRazor issue 615): :func:`with_stubbed_quantization`.
- With mmcv > 2.1.0 (onedl-mmcv 2.3, mmcv 2.2) an assertion on ``mmcv.__version__`` refuses it,
  though its distillation half works: :func:`with_accepted_mmcv`.
- ``KDSoftCELoss`` takes its criterion from mmcls, since renamed mmpretrain:
  :func:`repaired_soft_cross_entropy`.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NoReturn

from .releases import release

QUANTIZATION = 'mmrazor.structures.quantization'
KD_SOFT_CE = 'mmrazor.models.losses.kd_soft_ce_loss'
NEWEST_MMCV = '2.1.0'


def _refuse(*args: object, **kwargs: object) -> NoReturn:
    raise ImportError(
        f'{QUANTIZATION} is not available: MMRazor 1.0.0 builds its quantization on torch.ao names '
        'that only torch 1.13 has (https://github.com/open-mmlab/mmrazor/issues/615), so mmdynakd '
        'put a stand-in there to let the rest of MMRazor import. Distillation needs none of it; to '
        'quantize, use an environment with torch 1.13.'
    )


def _refuse_name(name: str) -> NoReturn:
    # The interpreter and tools probe modules for dunder names with hasattr: the answer stays "no".
    if name.startswith('__'):
        raise AttributeError(name)
    _refuse()


class _Unusable:
    """A name that can be imported and nothing else: every use of it is refused."""

    __call__ = __getitem__ = __instancecheck__ = __mro_entries__ = _refuse

    def __getattr__(self, name: str) -> NoReturn:
        _refuse_name(name)


@contextmanager
def with_stubbed_quantization() -> Iterator[None]:
    """Put a stand-in where MMRazor's quantization would fail to import, once that is imminent.

    It must come after torch in ``sys.modules``: pickle asks one module after the other for names of
    torch, and a stand-in that refuses would end that search, for example in ``torch.compile``.

    Examples:
        >>> with with_stubbed_quantization():
        ...     QUANTIZATION in sys.modules
        True
    """
    import torch

    if release(torch.__version__) >= (2, 0) and QUANTIZATION not in sys.modules:
        _stub_quantization()
    yield


def _stub_quantization() -> None:
    stub = ModuleType(QUANTIZATION, 'Stand-in put here by mmdynakd.compat: see mmrazor_repairs.')
    names = ['BackendConfigs', 'QConfigHandler']
    # mmrazor.structures imports * from it
    vars(stub).update(
        {name: _Unusable() for name in names}, __all__=names, __getattr__=_refuse_name
    )
    sys.modules[QUANTIZATION] = stub


@contextmanager
def with_accepted_mmcv() -> Iterator[None]:
    """Let ``mmcv.__version__`` read 2.1.0 if it is newer, for MMRazor's assertion at its import.

    Examples:
        >>> import mmcv
        >>> with with_accepted_mmcv():
        ...     release(mmcv.__version__) <= (2, 1, 0)
        True
    """
    import mmcv

    true_version = mmcv.__version__
    if release(true_version) > release(NEWEST_MMCV):
        mmcv.__version__ = NEWEST_MMCV
    try:
        yield
    finally:
        mmcv.__version__ = true_version


def _soft_cross_entropy(*args: Any, **kwargs: Any) -> Any:
    """MMPretrain's criterion, imported when first used because its models take seconds."""
    from mmpretrain.models.losses.cross_entropy_loss import soft_cross_entropy

    return soft_cross_entropy(*args, **kwargs)


@contextmanager
def repaired_soft_cross_entropy() -> Iterator[None]:
    """Give ``KDSoftCELoss`` the criterion of MMPretrain, once its module is imported.

    Examples:
        >>> with repaired_soft_cross_entropy():
        ...     import mmrazor.models.losses.kd_soft_ce_loss as module
        >>> isinstance(module.soft_cross_entropy, type)
        False
    """
    yield
    module: Any = sys.modules.get(KD_SOFT_CE)
    # MMRazor's placeholder for the absent mmcls is a class; the true criterion is a function.
    if module is not None and isinstance(getattr(module, 'soft_cross_entropy', None), type):
        module.soft_cross_entropy = _soft_cross_entropy
