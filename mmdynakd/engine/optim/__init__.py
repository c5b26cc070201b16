from .constructor import BilevelOptimWrapperConstructor
from .wrapper import THETA, BilevelOptimWrapper

__all__ = ['THETA', 'BilevelOptimWrapper', 'BilevelOptimWrapperConstructor']
