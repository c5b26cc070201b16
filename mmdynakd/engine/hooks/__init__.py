"""Hooks: they observe a run and record what they saw; they change no weight and no θ."""

from .candidates import CandidateEvaluationHook
from .checkpoint import CheckpointHook
from .results import ResultsHook
from .runtime_info import RuntimeInfoHook

__all__ = ['CandidateEvaluationHook', 'CheckpointHook', 'ResultsHook', 'RuntimeInfoHook']
