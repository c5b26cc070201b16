"""DynaKD: knowledge distillation from a learned categorical distribution over teachers (AAAI 2024)."""

from . import compat

compat.install()

from .safe_load import guard_mmengine  # noqa: E402
from .version import __version__  # noqa: E402

guard_mmengine()

__all__ = ['__version__', 'load_teacher']


def __getattr__(name: str):
    # Imported when first used: the models take seconds.
    if name == 'load_teacher':
        from .models.teachers.standalone import load_teacher

        return load_teacher
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
