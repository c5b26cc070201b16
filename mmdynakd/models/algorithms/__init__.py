"""The algorithm: lanes of students over one ensemble of teachers, and their two kinds of steps."""

from .dynakd import DynaKD
from .lane import Lane

__all__ = ['DynaKD', 'Lane']
