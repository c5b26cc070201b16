"""What a person sees: results become tables and figures.

Nothing here decides, chooses or reads.
"""

from .comparison import compare, comparison_table, write_comparison
from .figures import plot_theta
from .seeds import seeds_summary
from .tables import results_table
from .theta import write_theta

__all__ = [
    'compare',
    'comparison_table',
    'plot_theta',
    'results_table',
    'seeds_summary',
    'write_comparison',
    'write_theta',
]
