"""What rooms hand to one another and what their files hold: typed, frozen, read and written.

Nothing here computes or decides; tables and figures of these values are in ``report/``.
"""

from .base import Value
from .candidates import Candidate, Candidates, read_candidates
from .comparison import Comparison, MethodResult
from .facts import RunFacts
from .files import FORMAT, NewerFormatError, plain, read, typed, write
from .lanes import LaneResult, LaneSummary, Moments, lane_result
from .results import Results, read_results
from .teachers import CheckedTeacher, TeacherReport
from .theta import ThetaPoint, check_theta, is_by_class

__all__ = [
    'FORMAT',
    'Candidate',
    'Candidates',
    'CheckedTeacher',
    'Comparison',
    'LaneResult',
    'LaneSummary',
    'MethodResult',
    'Moments',
    'NewerFormatError',
    'Results',
    'RunFacts',
    'TeacherReport',
    'ThetaPoint',
    'Value',
    'check_theta',
    'is_by_class',
    'lane_result',
    'plain',
    'read',
    'read_candidates',
    'read_results',
    'typed',
    'write',
]
