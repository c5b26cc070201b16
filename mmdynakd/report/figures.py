import os

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def plot_theta(history: list[dict], snapshots: list[dict], path: str) -> None:
    """Draws θ over the iterations of a search, a line a teacher and a mark a candidate, to a PNG file.

    Args:
        history: points ``dict(step, theta)`` of one lane, θ by teacher.
        snapshots: ``dict(name, step)``.
        path: where to.
    """
    figure = Figure(figsize=(7, 4), layout='constrained')
    FigureCanvasAgg(figure)  # no display, and no global state of pyplot
    axes = figure.add_subplot()
    steps = [point['step'] for point in history]
    for teacher in history[0]['theta']:
        axes.plot(steps, [point['theta'][teacher] for point in history], label=teacher)
    for snapshot in snapshots:
        axes.axvline(snapshot['step'], color='0.8', linewidth=0.8, zorder=0)
        axes.annotate(snapshot['name'], (snapshot['step'], 1.0), rotation=90, ha='right', va='top', fontsize=7,
                      color='0.4')
    axes.set(xlabel='iteration', ylabel='probability of being employed', ylim=(0, 1), title='θ over the search')
    axes.legend(loc='center left', bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path + '.tmp', format='png', dpi=150)
    os.replace(path + '.tmp', path)
