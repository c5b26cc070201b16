"""DynaKD: knowledge distillation from a learned categorical distribution over teachers (AAAI 2024)."""
from . import compat

compat.install()

from .version import __version__  # noqa: E402

__all__ = ['__version__']
