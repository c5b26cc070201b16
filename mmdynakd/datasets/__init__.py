"""What it is trained on: data sets, their splits and views; not how a loop or a model uses them."""

from .arrays import ArrayDataset, batch_collate
from .cifar import CIFAR100, DatasetFileError
from .contrast import ContrastDataset
from .digits import Digits
from .views import View, Views, ViewSampler, is_deterministic

__all__ = [
    'CIFAR100',
    'ArrayDataset',
    'ContrastDataset',
    'DatasetFileError',
    'Digits',
    'View',
    'ViewSampler',
    'Views',
    'batch_collate',
    'is_deterministic',
]
