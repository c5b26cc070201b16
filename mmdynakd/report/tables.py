import numpy as np


def results_table(results: dict, metric: str) -> str:
    """Markdown table of ``results.json``: a row a lane, accuracy in per cent of the last epoch, Cat* marked.

    Of a class-conditional θ it shows the mean over the classes.
    """
    teachers = results['teachers']
    lines = [f"| lane | val | test | θ ({', '.join(teachers)}) |", '|---|---|---|---|']
    for row in sorted(results['lanes'], key=lambda row: row['role'] != 'baseline'):
        name = f"**{row['name']}** (Cat*)" if row['name'] == results['selected'] else row['name']
        theta = ' '.join(f"{np.mean(row['theta'].get(t, 0)):.3f}" for t in teachers) if row.get('theta') else '–'
        lines.append(f"| {name} | {row['val'][metric]:.2f} | {row['test'][metric]:.2f} | {theta} |")
    lines += ['', _footnote(results, metric)]
    return '\n'.join(lines) + '\n'


def _footnote(results: dict, metric: str) -> str:
    """How far a difference can be chance: the size of the test split and the standard error of one accuracy."""
    size = results['test_size']
    accuracy = next(row['test'][metric] for row in results['lanes'] if row['name'] == results['selected']) / 100
    error = 100 * (accuracy * (1 - accuracy) / size)**0.5
    return (f"{metric} of the last epoch ({results['epochs']} epochs, seed {results['seed']}), Cat* chosen on val; "
            f'{size} test images: one is {100 / size:.2f} points, the standard error of Cat* is {error:.2f}.')
