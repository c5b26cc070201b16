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
    """
    table = results_table(results, metric)
    write_text(out_dir, TABLE, table)
    path = write(out_dir, RESULTS, results)
    student = osp.join(out_dir, 'student.pth')
    return f'{table}\nresults: {path}\nstudent: {student} (config student.py)'
