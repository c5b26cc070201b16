"""Everything that this package knows about the insides of other packages.

A package rather than one file, because it holds one file a subject. Only these files may use
private names of MMEngine, MMRazor, MMPretrain or torch; ``tests/test_house.py`` fails where another
does.

- :mod:`.flavours`: which distributions own the import folders; one error where they are missing or
  mixed.
- :mod:`.imports`: runs a repair at the moment that the module in need of it is imported.
- :mod:`.mmrazor_repairs`: what keeps MMRazor 1.0.0 from importing on today's torch and mmcv.
- :mod:`.pickles`: which types a checkpoint of MMEngine's Runner may hold.
- :mod:`.mmengine_internals`, :mod:`.torch_internals`: one small function for each private name that
  we cannot do without.
- :mod:`.tracebacks`: what frames of MMEngine's functions tell about a mistake in a config.

This file imports none of those packages, so that ``import mmdynakd`` takes milliseconds.
"""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from .flavours import OWNERS, check_flavour, installed
from .imports import when_imported
from .mmrazor_repairs import (
    KD_SOFT_CE,
    QUANTIZATION,
    repaired_soft_cross_entropy,
    with_accepted_mmcv,
    with_stubbed_quantization,
)
from .pickles import checkpoint_loaders, runner_globals, trust_history_buffers
from .releases import release

__all__ = [
    'OWNERS',
    'QUANTIZATION',
    'check_flavour',
    'checkpoint_loaders',
    'install',
    'installed',
    'load_mmrazor',
    'release',
    'runner_globals',
    'trust_history_buffers',
    'when_imported',
]


def install() -> None:
    """Prepare the installed stack; idempotent, and it does not matter what was imported before.

    Nothing heavy is imported: each repair waits for the import of what it repairs.

    Raises:
        ImportError: the mm packages are missing, or of two flavours (see :func:`check_flavour`).

    Examples:
        >>> install()
        >>> from mmrazor.structures.quantization import QConfigHandler
    """
    check_flavour(installed())
    when_imported('mmrazor.structures', with_stubbed_quantization)
    when_imported('mmcv.cnn.bricks.transformer', _without_warnings)
    when_imported('pkg_resources', _without_warnings)
    when_imported('mmrazor', with_accepted_mmcv)
    when_imported(KD_SOFT_CE, repaired_soft_cross_entropy)


def load_mmrazor() -> None:
    """Import MMRazor's models and engine, which takes seconds, so :func:`install` does not.

    Examples:
        >>> load_mmrazor()
        >>> from mmrazor.registry import MODELS
        >>> 'KLDivergence' in MODELS
        True
    """
    install()
    importlib.import_module('mmrazor.models')
    importlib.import_module('mmrazor.engine')
    trust_history_buffers()


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence two warnings that a user of ours can do nothing about.

    mmcv-lite lacks an operator that we do not use; MMEngine asks pkg_resources what is installed.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Fail to import ``MultiScaleDeformableAttention``')
        warnings.filterwarnings('ignore', 'pkg_resources is deprecated as an API')
        yield
