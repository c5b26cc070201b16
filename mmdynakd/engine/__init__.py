from .hooks import CandidateEvaluationHook, CheckpointHook, ResultsHook, RuntimeInfoHook
from .loops import (
    BilevelIterTrainLoop,
    BilevelTrainLoop,
    LaneTestLoop,
    LaneValLoop,
    RepeatableTrainLoop,
)
from .optim import BilevelOptimWrapper, BilevelOptimWrapperConstructor

__all__ = [
    'BilevelIterTrainLoop',
    'BilevelOptimWrapper',
    'BilevelOptimWrapperConstructor',
    'BilevelTrainLoop',
    'CandidateEvaluationHook',
    'CheckpointHook',
    'LaneTestLoop',
    'LaneValLoop',
    'RepeatableTrainLoop',
    'ResultsHook',
    'RuntimeInfoHook',
]
