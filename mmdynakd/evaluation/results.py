"""The results of an evaluation, written as files and as a table."""

import os.path as osp

from mmdynakd.files import write_text
from mmdynakd.report import results_table
from mmdynakd.values import Results, write

from .plan import RESULTS

TABLE = 'results.md'


def write_results(out_dir: str, results: Results, metric: str) -> str:
    """Write ``results.json`` and ``results.md``.

    Args:
        out_dir: an existing folder, which holds the exported student.
        results: of all lanes.
        metric: that the table shows.

    Returns:
        The table and the paths, to be shown.

    Examples:
        >>> import tempfile
        >>> from mmdynakd.values import LaneResult, RunFacts
        >>> lane = LaneResult(name='ce', role='baseline', val={'top1': 70.0}, test={'top1': 69.0})
        >>> results = Results(
        ...     selected='ce',
        ...     selection='the only one',
        ...     test_size=100,
        ...     teachers=(),
        ...     seed=0,
        ...     epochs=1,
        ...     device='CPU',
        ...     versions={},
        ...     lanes=(lane,),
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print(write_results(folder, results, 'top1').splitlines()[2])
        | **ce** (Cat*) | 70.00 | 69.00 | – |
    """
    table = results_table(results, metric)
    write_text(out_dir, TABLE, table)
    path = write(out_dir, RESULTS, results)
    student = osp.join(out_dir, 'student.pth')
    return f'{table}\nresults: {path}\nstudent: {student} (config student.py)'
