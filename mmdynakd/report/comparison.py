"""Several seeds of several methods: one table, paired with DynaKD."""

import statistics
from collections.abc import Mapping, Sequence

from scipy.special import stdtrit

from mmdynakd.files import write_json, write_text

from .seeds import spread_text

CONFIDENCE = 0.95
OURS = 'DynaKD (Cat*)'


def paired_interval(
    first: Sequence[float], second: Sequence[float]
) -> tuple[float, tuple[float, float] | None]:
    """Mean of ``first − second`` pair by pair, and its 95% confidence interval.

    The interval is Student's, ``m ± t_{0.975, n−1} s / √n`` over the n seeds; None for one seed.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return mean, None
    half = (
        stdtrit(len(differences) - 1, (1 + CONFIDENCE) / 2)
        * statistics.stdev(differences)
        / len(differences) ** 0.5
    )
    return mean, (mean - half, mean + half)


def compare(runs: Sequence[Mapping], metric: str = 'accuracy/top1') -> list[dict]:
    """One row a method over the seeds, DynaKD first, the others by their mean on test.

    Args:
        runs: contents of ``results.json``, one a seed. DynaKD's row is the lane that each selected
            on val; its other candidates are left out.
        metric: in per cent.

    Returns:
        ``dict(method, seeds, val, test, difference, interval)``: val and test are lists over the
            seeds that have the
        method, the difference is the method's test minus DynaKD's of the same seeds.
    """
    found: dict[str, list[tuple[float, float, float]]] = {}
    for results in runs:
        rows = {row['name']: row for row in results['lanes']}
        ours = rows[results['selected']]
        kept = {
            OURS: ours,
            **{name: row for name, row in rows.items() if row['role'] == 'baseline'},
        }
        for name, row in kept.items():
            found.setdefault(name, []).append(
                (row['val'][metric], row['test'][metric], ours['test'][metric])
            )
    table = []
    for name, values in found.items():
        val, test, ours = map(list, zip(*values))
        difference, interval = paired_interval(test, ours)
        table.append(
            dict(
                method=name,
                seeds=len(test),
                val=val,
                test=test,
                difference=difference,
                interval=interval,
            )
        )
    return sorted(table, key=lambda row: (row['method'] != OURS, -statistics.fmean(row['test'])))


def comparison_table(runs: Sequence[Mapping], metric: str = 'accuracy/top1') -> str:
    """Markdown of :func:`compare`, with what the numbers are below it."""
    lines = ['| method | val | test | test minus DynaKD | 95% interval |', '|---|---|---|---|---|']
    for row in compare(runs, metric):
        same = row['method'] == OURS
        interval = (
            '–' if same or row['interval'] is None else '{:+.2f} … {:+.2f}'.format(*row['interval'])
        )
        lines.append(
            f'| {row["method"]} | {spread_text(row["val"])} | {spread_text(row["test"])} | '
            f'{"–" if same else format(row["difference"], "+.2f")} | {interval} |'
        )
    first = runs[0]
    seeds = ', '.join(str(run['seed']) for run in runs)
    several = (
        "mean ± standard deviation over the seeds; the interval is Student's, of the paired "
        'differences'
        if len(runs) > 1
        else 'one seed: no spread and no interval can be given'
    )
    lines += [
        '',
        f'{metric} of the last epoch ({first["epochs"]} epochs), in per cent; seeds {seeds}; '
        f'{several}. '
        f'Nothing was selected on test ({first["test_size"]} images); DynaKD is the best of its '
        f'candidates on val, which flatters its val accuracy. {first["device"]}, '
        f'mmdynakd {first["versions"]["mmdynakd"]}, torch {first["versions"]["torch"]}.',
    ]
    return '\n'.join(lines) + '\n'


def write_comparison(folder: str, runs: Sequence[Mapping], metric: str = 'accuracy/top1') -> str:
    """Writes ``comparison.json`` and ``comparison.md``; returns the path of the table."""
    write_json(folder, 'comparison.json', compare(runs, metric))
    return write_text(folder, 'comparison.md', comparison_table(runs, metric))
