"""The evaluation of a search as independent runs, on one machine or on many."""

from .apart import RunsFailed, evaluate
from .executors.base import Engine, EngineError, Job
from .plan import Plan, check_lanes, make_plan

__all__ = [
    'Engine',
    'EngineError',
    'Job',
    'Plan',
    'RunsFailed',
    'check_lanes',
    'evaluate',
    'make_plan',
]
