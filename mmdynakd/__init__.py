"""DynaKD: distillation from a learned categorical distribution over teachers (AAAI 2024).

Here belongs what a user imports by the package's own name, and the repairs of MMEngine and MMRazor
that must be in place first; everything else is in the rooms below. Importing this takes
milliseconds: each repair waits for the import of what it repairs, and models are imported when
first used.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import compat
from .version import __version__

if TYPE_CHECKING:
    from .models.teachers.standalone import load_teacher

__all__ = ['__version__', 'load_teacher']


@contextmanager
def _guarded_loading() -> Iterator[None]:
    """Checkpoints that MMEngine loads can run nothing."""
    yield
    from .safe_load import guard_mmengine

    guard_mmengine()


compat.install()
compat.when_imported('mmengine.runner.checkpoint', _guarded_loading)


def __getattr__(name: str) -> Any:
    if name == 'load_teacher':
        from .models.teachers.standalone import load_teacher

        return load_teacher
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
