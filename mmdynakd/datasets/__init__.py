"""Data sets: CIFAR-100 with a held-out validation split, and digits, which need no download."""
from .cifar import CIFAR100, DatasetFileError
from .digits import Digits

__all__ = ['CIFAR100', 'DatasetFileError', 'Digits']
