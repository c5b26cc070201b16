"""The table of an evaluation."""

import numpy as np

from mmdynakd.values import LaneResult, Results

from .seeds import by_lane, spread_text


def results_table(results: Results, metric: str) -> str:
    """Makes the Markdown table of an evaluation: a row for each lane, baselines first.

    The selected lane is marked Cat*. Of a class-conditional θ the table shows the mean over the
    classes; of several seeds, mean and standard deviation.

    Args:
        results: of the evaluation.
        metric: to show, in per cent.

    Examples:
        >>> scores = {'top1': 70.0}
        >>> lane = LaneResult(
        ...     name='cat1', role='candidate', theta=dict(a=1.0), val=scores, test=scores
        ... )
        >>> results = Results(
        ...     selected='cat1',
        ...     selection='highest val',
        ...     test_size=100,
        ...     teachers=('a',),
        ...     seed=0,
        ...     epochs=1,
        ...     device='CPU',
        ...     versions={},
        ...     lanes=(lane,),
        ... )
        >>> print(results_table(results, 'top1').splitlines()[2])
        | **cat1** (Cat*) | 70.00 | 70.00 | 1.000 |
    """
    teachers = results.teachers
    lines = [f'| lane | val | test | θ ({", ".join(teachers)}) |', '|---|---|---|---|']
    lanes = sorted(by_lane(results.lanes).items(), key=lambda item: item[1][0].role != 'baseline')
    for name, rows in lanes:
        shown = f'**{name}** (Cat*)' if name == results.selected else name
        val = spread_text([row.val[metric] for row in rows])
        test = spread_text([row.test[metric] for row in rows])
        lines.append(f'| {shown} | {val} | {test} | {_theta_text(rows[0], teachers)} |')
    lines += ['', _footnote(results, metric)]
    return '\n'.join(lines) + '\n'


def _theta_text(row: LaneResult, teachers: tuple[str, ...]) -> str:
    theta = row.theta
    if not theta:
        return '–'
    return ' '.join(f'{np.mean(theta.get(teacher, 0)):.3f}' for teacher in teachers)


def _footnote(results: Results, metric: str) -> str:
    """How far a difference can be chance: one image of the split, one standard error."""
    size = results.test_size
    accuracy = results.chosen.test[metric] / 100
    error = 100 * (accuracy * (1 - accuracy) / size) ** 0.5
    seeds = results.seeds or (results.seed,)
    which = f'seed{"s"[: len(seeds) > 1]} {", ".join(map(str, seeds))}'
    which += ', mean ± standard deviation' if len(seeds) > 1 else ''
    return (
        f'{metric} of the last epoch ({results.epochs} epochs, {which}), Cat* chosen on val; '
        f'{size} test images: one is {100 / size:.2f} points, the standard error of Cat* is '
        f'{error:.2f}.'
    )
