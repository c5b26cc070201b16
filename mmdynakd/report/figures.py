from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmdynakd.files import whole


def plot_theta(history: list[dict], snapshots: list[dict], path: str) -> None:
    """Draws θ over the iterations of a search, a line a teacher and a mark a candidate, to a PNG
    file.

    Args:
        history: points ``dict(step, theta)`` of one lane, θ by teacher.
        snapshots: ``dict(name, step)``.
        path: where to.
    """
    figure, axes = _canvas(7, 4)
    steps = [point['step'] for point in history]
    for teacher in history[0]['theta']:
        axes.plot(steps, [point['theta'][teacher] for point in history], label=teacher)
    for snapshot in snapshots:
        axes.axvline(snapshot['step'], color='0.8', linewidth=0.8, zorder=0)
        axes.annotate(
            snapshot['name'],
            (snapshot['step'], 1.0),
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


def plot_classes(theta: dict[str, list[float]], title: str, path: str) -> None:
    """Draws a class-conditional θ, a row a teacher and a column a class, to a PNG file.

    Args:
        theta: ``{teacher: [θ_i of each class]}``.
        title: of the figure.
        path: where to.
    """
    figure, axes = _canvas(9, 1 + 0.4 * len(theta))
    image = axes.imshow(
        list(theta.values()), aspect='auto', vmin=0, vmax=1, cmap='viridis', interpolation='nearest'
    )
    axes.set(yticks=range(len(theta)), yticklabels=list(theta), xlabel='class', title=title)
    figure.colorbar(image, label='probability')
    _save(figure, path)


def _canvas(width: float, height: float):
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)  # no display, and no global state of pyplot
    return figure, figure.add_subplot()


def _save(figure: Figure, path: str) -> None:
    with whole(path) as temporary:
        figure.savefig(temporary, format='png', dpi=150)
