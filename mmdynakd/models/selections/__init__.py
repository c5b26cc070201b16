"""A selection says who teaches in a step, and with which weights."""

from .average import Average
from .base import Choice, Evidence, Selection
from .categorical import CategoricalDistribution
from .confidence import ConfidenceAware
from .entropy import EntropyWeighted
from .gradient import GradientSpace
from .labels import LabelsOnly
from .subset import RandomSubset

__all__ = [
    'Average',
    'CategoricalDistribution',
    'Choice',
    'ConfidenceAware',
    'EntropyWeighted',
    'Evidence',
    'GradientSpace',
    'LabelsOnly',
    'RandomSubset',
    'Selection',
]
