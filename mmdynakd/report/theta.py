"""The course of θ over a search, as numbers and as figures."""

import csv
import io
import os.path as osp
from collections.abc import Sequence

from mmdynakd.files import write_text
from mmdynakd.values import Candidate, ThetaPoint, is_by_class

from .figures import plot_classes, plot_theta


def write_theta(folder: str, history: Sequence[ThetaPoint], snapshots: Sequence[Candidate]) -> None:
    """Writes ``theta.csv`` and a figure for each lane that searches.

    The figure is ``theta.png``, or ``theta_<lane>.png`` where several lanes search. Of a
    class-conditional θ both show the mean over the classes; ``theta_classes_<candidate>.png`` shows
    all of it. Without history nothing is written.

    Args:
        folder: where to write.
        history: of θ, in the order of steps.
        snapshots: candidates to mark in the figures.

    Examples:
        >>> import tempfile
        >>> history = [ThetaPoint(step=0, lane='search', theta=dict(a=0.5, b=0.5))]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_theta(folder, history, [])
        ...     print(open(f'{folder}/theta.csv').read())
        step,lane,a,b
        0,search,0.5,0.5
        <BLANKLINE>
    """
    if not history:
        return
    write_text(folder, 'theta.csv', _csv(history))
    lanes = list(dict.fromkeys(point.lane for point in history))
    for lane in lanes:
        name = 'theta.png' if len(lanes) == 1 else f'theta_{lane}.png'
        plot_theta(
            [point for point in history if point.lane == lane],
            [snapshot for snapshot in snapshots if snapshot.lane == lane],
            osp.join(folder, name),
        )
    for snapshot in snapshots:
        if is_by_class(snapshot.theta):
            plot_classes(
                snapshot.theta,
                f'{snapshot.name}: θ of each class',
                osp.join(folder, f'theta_classes_{snapshot.name}.png'),
            )


def _csv(history: Sequence[ThetaPoint]) -> str:
    teachers = list(history[0].theta)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['step', 'lane', *teachers])
    for point in history:
        writer.writerow([point.step, point.lane, *(repr(point.theta[t]) for t in teachers)])
    return text.getvalue()
