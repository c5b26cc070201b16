from .constructor import BilevelOptimWrapperConstructor
from .wrapper import BilevelOptimWrapper

__all__ = ['BilevelOptimWrapper', 'BilevelOptimWrapperConstructor']
