"""The course of θ over a search, as numbers and as a figure."""

import csv
import io
import os.path as osp

from mmdynakd.files import write_text

from .figures import plot_classes, plot_theta


def write_theta(folder: str, history: list[dict], snapshots: list[dict]) -> None:
    """Writes ``theta.csv`` and, a lane, ``theta.png`` (``theta_<lane>.png`` where several search).

    Of a class-conditional θ these show the mean over the classes; ``theta_classes_<candidate>.png``
    shows all of it.

    Args:
        folder: where to.
        history: points ``dict(step, lane, theta)``, θ by teacher.
        snapshots: candidates with ``name``, ``lane``, ``step`` and ``theta``, marked in the figure.
    """
    if not history:
        return
    teachers = list(history[0]['theta'])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['step', 'lane', *teachers])
    writer.writerows(
        [p['step'], p['lane'], *(repr(p['theta'][t]) for t in teachers)] for p in history
    )
    write_text(folder, 'theta.csv', text.getvalue())
    lanes = list(dict.fromkeys(p['lane'] for p in history))
    for lane in lanes:
        name = 'theta.png' if len(lanes) == 1 else f'theta_{lane}.png'
        plot_theta(
            [p for p in history if p['lane'] == lane],
            [s for s in snapshots if s['lane'] == lane],
            osp.join(folder, name),
        )
    for snapshot in snapshots:
        if any(isinstance(value, list) for value in snapshot['theta'].values()):
            plot_classes(
                snapshot['theta'],
                f'{snapshot["name"]}: θ of each class',
                osp.join(folder, f'theta_classes_{snapshot["name"]}.png'),
            )
