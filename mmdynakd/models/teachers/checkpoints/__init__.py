"""Weights from a file into a teacher, whatever the file's layout.

Not here: reading files safely (``mmdynakd.safe_load``), and building a teacher.
"""

from .layouts import LayoutError
from .loading import load_checkpoint_into

__all__ = ['LayoutError', 'load_checkpoint_into']
