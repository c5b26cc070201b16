from .candidates import CandidateEvaluationHook
from .results import ResultsHook

__all__ = ['CandidateEvaluationHook', 'ResultsHook']
