"""Where independent runs are done: an executor starts commands and says which have ended."""

from .local import LocalExecutor
from .ray_cluster import RayExecutor
from .slurm import SlurmExecutor

__all__ = ['LocalExecutor', 'RayExecutor', 'SlurmExecutor']
