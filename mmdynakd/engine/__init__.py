from .hooks import CandidateEvaluationHook, ResultsHook
from .loops import BilevelIterTrainLoop, BilevelTrainLoop, LaneTestLoop, LaneValLoop
from .optim import BilevelOptimWrapper, BilevelOptimWrapperConstructor

__all__ = [
    'BilevelIterTrainLoop', 'BilevelOptimWrapper', 'BilevelOptimWrapperConstructor', 'BilevelTrainLoop',
    'CandidateEvaluationHook', 'LaneTestLoop', 'LaneValLoop', 'ResultsHook'
]
