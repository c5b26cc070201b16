from .dynakd import DynaKD
from .lane import Lane

__all__ = ['DynaKD', 'Lane']
