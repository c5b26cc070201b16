"""A selection says who teaches in a step, and with which weights."""
from .base import Choice, Evidence, Selection
from .categorical import CategoricalDistribution

__all__ = ['CategoricalDistribution', 'Choice', 'Evidence', 'Selection']
