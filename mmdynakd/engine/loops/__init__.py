from .bilevel import BilevelIterTrainLoop, BilevelTrainLoop
from .lanes import LaneTestLoop, LaneValLoop

__all__ = ['BilevelIterTrainLoop', 'BilevelTrainLoop', 'LaneTestLoop', 'LaneValLoop']
