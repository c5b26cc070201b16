"""Data sets: CIFAR-100 with a held-out validation split, and digits, which need no download."""
from .cifar import CIFAR100, DatasetFileError
from .contrast import ContrastDataset
from .digits import Digits

__all__ = ['CIFAR100', 'ContrastDataset', 'DatasetFileError', 'Digits']
