import numpy as np

from .seeds import by_lane, spread_text


def results_table(results: dict, metric: str) -> str:
    """Markdown table of ``results.json``: a row a lane, accuracy in per cent of the last epoch,
    Cat* marked.

    Of a class-conditional θ it shows the mean over the classes; of several seeds, mean and standard
    deviation.
    """
    teachers = results['teachers']
    lines = [f'| lane | val | test | θ ({", ".join(teachers)}) |', '|---|---|---|---|']
    for name, rows in sorted(
        by_lane(results['lanes']).items(), key=lambda item: item[1][0]['role'] != 'baseline'
    ):
        shown, theta = (
            f'**{name}** (Cat*)' if name == results['selected'] else name,
            rows[0].get('theta'),
        )
        theta = ' '.join(f'{np.mean(theta.get(t, 0)):.3f}' for t in teachers) if theta else '–'
        val, test = (spread_text([row[split][metric] for row in rows]) for split in ('val', 'test'))
        lines.append(f'| {shown} | {val} | {test} | {theta} |')
    lines += ['', _footnote(results, metric)]
    return '\n'.join(lines) + '\n'


def _footnote(results: dict, metric: str) -> str:
    """How far a difference can be chance: the size of the test split and the standard error of one
    accuracy.
    """
    size = results['test_size']
    accuracy = (
        next(row['test'][metric] for row in results['lanes'] if row['name'] == results['selected'])
        / 100
    )
    error = 100 * (accuracy * (1 - accuracy) / size) ** 0.5
    seeds = results.get('seeds') or [results['seed']]
    which = f'seed{"s"[: len(seeds) > 1]} {", ".join(map(str, seeds))}'
    which += ', mean ± standard deviation' if len(seeds) > 1 else ''
    return (
        f'{metric} of the last epoch ({results["epochs"]} epochs, {which}), Cat* chosen on val; '
        f'{size} test images: one is {100 / size:.2f} points, the standard error of Cat* is '
        f'{error:.2f}.'
    )
