"""The second stage: lanes become students, one is chosen, results are written.

What competes, how lanes are made of it, side by side or apart. Not here: what happens inside a run
(engine/), and many evaluations (study/).
"""

from .apart import RunsFailedError
from .evaluate import evaluate
from .executors.base import Executor, ExecutorError, Job
from .plan import Plan, check_lanes, plan_evaluation
from .search_files import read_plan

__all__ = [
    'Executor',
    'ExecutorError',
    'Job',
    'Plan',
    'RunsFailedError',
    'check_lanes',
    'evaluate',
    'plan_evaluation',
    'read_plan',
]
