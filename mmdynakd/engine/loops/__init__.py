"""Loops: they fetch batches and say when what happens; they compute no loss and step nothing."""

from .bilevel import BilevelIterTrainLoop, BilevelTrainLoop
from .epochs import RepeatableTrainLoop
from .lanes import LaneTestLoop, LaneValLoop

__all__ = [
    'BilevelIterTrainLoop',
    'BilevelTrainLoop',
    'LaneTestLoop',
    'LaneValLoop',
    'RepeatableTrainLoop',
]
