"""Figures as PNG files."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmdynakd.files import whole
from mmdynakd.values import Candidate, ThetaPoint
from mmdynakd.values.fields import Theta


def plot_theta(history: Sequence[ThetaPoint], snapshots: Sequence[Candidate], path: str) -> None:
    """Draws θ over the iterations of a search: a line for each teacher, a mark for each candidate.

    Args:
        history: points of one lane, at least one.
        snapshots: candidates to mark.
        path: of the PNG file.

    Examples:
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, 'theta.png')
        ...     plot_theta([ThetaPoint(step=0, lane='search', theta=dict(a=1.0))], [], path)
        ...     os.path.isfile(path)
        True
    """
    figure, axes = _canvas(7, 4)
    steps = [point.step for point in history]
    for teacher in history[0].theta:
        axes.plot(steps, [point.theta[teacher] for point in history], label=teacher)
    for snapshot in snapshots:
        if snapshot.step is None:  # a fixed point was not taken anywhere
            continue
        axes.axvline(snapshot.step, color='0.8', linewidth=0.8, zorder=0)
        axes.annotate(
            snapshot.name,
            (snapshot.step, 1.0),
            rotation=90,
            ha='right',
            va='top',
            fontsize=7,
            color='0.4',
        )
    axes.set(
        xlabel='iteration',
        ylabel='probability of being employed',
        ylim=(0, 1),
        title='θ over the search',
    )
    axes.legend(loc='center left', bbox_to_anchor=(1, 0.5), frameon=False)
    _save(figure, path)


def plot_classes(theta: Theta, title: str, path: str) -> None:
    """Draws a class-conditional θ: a row for each teacher, a column for each class.

    Args:
        theta: ``{teacher: [probability of each class]}``.
        title: of the figure.
        path: of the PNG file.

    Examples:
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, 'classes.png')
        ...     plot_classes(dict(a=[0.5, 1.0], b=[0.5, 0.0]), 'θ of each class', path)
        ...     os.path.isfile(path)
        True
    """
    figure, axes = _canvas(9, 1 + 0.4 * len(theta))
    image = axes.imshow(
        list(theta.values()), aspect='auto', vmin=0, vmax=1, cmap='viridis', interpolation='nearest'
    )
    axes.set(yticks=range(len(theta)), yticklabels=list(theta), xlabel='class', title=title)
    figure.colorbar(image, label='probability')
    _save(figure, path)


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)  # no display, and no global state of pyplot
    return figure, figure.add_subplot()


def _save(figure: Figure, path: str) -> None:
    with whole(path) as temporary:
        figure.savefig(temporary, format='png', dpi=150)
