from .candidates import CandidateEvaluationHook
from .results import ResultsHook
from .runtime_info import RuntimeInfoHook

__all__ = ['CandidateEvaluationHook', 'ResultsHook', 'RuntimeInfoHook']
