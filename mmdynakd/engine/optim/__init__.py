"""One optimizer a lane and one a θ: they step, or skip a step that is not finite; nothing else."""

from .constructor import BilevelOptimWrapperConstructor
from .wrapper import BilevelOptimWrapper

__all__ = ['BilevelOptimWrapper', 'BilevelOptimWrapperConstructor']
