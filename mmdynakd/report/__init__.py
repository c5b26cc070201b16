"""What a person sees: files, tables and figures."""

from .comparison import compare, comparison_table, write_comparison
from .facts import config_hash, of_the_work, run_facts, versions
from .figures import plot_theta
from .reading import read_candidates, read_results
from .seeds import seeds_summary
from .tables import results_table
from .theta import write_theta

__all__ = [
    'compare',
    'comparison_table',
    'config_hash',
    'of_the_work',
    'plot_theta',
    'read_candidates',
    'read_results',
    'results_table',
    'run_facts',
    'seeds_summary',
    'versions',
    'write_comparison',
    'write_theta',
]
