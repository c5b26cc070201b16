"""A selection says who teaches in a step, and with which weights."""
from .base import Choice
from .categorical import CategoricalDistribution

__all__ = ['CategoricalDistribution', 'Choice']
