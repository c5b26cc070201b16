"""What happens inside one Runner: loops fetch, the optim wrapper steps, hooks observe and record.

What is trained belongs in ``models``; what starts a Runner, or compares several, belongs in
``launch``, ``evaluation`` and ``study``.
"""

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
