"""Several seeds of several methods: one table, paired with DynaKD."""

import statistics
from collections.abc import Mapping, Sequence

from scipy.special import stdtrit

from mmdynakd.files import write_text
from mmdynakd.values import Comparison, LaneResult, MethodResult, Results, write

from .seeds import spread_text

CONFIDENCE = 0.95
OURS = 'DynaKD (Cat*)'


def paired_interval(
    first: Sequence[float], second: Sequence[float]
) -> tuple[float, tuple[float, float] | None]:
    """Mean of ``first − second`` pair by pair, and its 95% confidence interval.

    The interval is Student's, ``m ± t_{0.975, n−1} s / √n`` over the n seeds.

    Args:
        first: one number for each seed.
        second: the same seeds of what it is compared with.

    Returns:
        The mean, and ``(low, high)`` or, with one seed, None.

    Raises:
        ValueError: the lengths differ.

    Examples:
        >>> mean, (low, high) = paired_interval([71.0, 72.0, 73.0], [70.0, 70.0, 70.0])
        >>> mean, round(low, 2), round(high, 2)
        (2.0, -0.48, 4.48)
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return mean, None
    half = float(
        stdtrit(len(differences) - 1, (1 + CONFIDENCE) / 2)
        * statistics.stdev(differences)
        / len(differences) ** 0.5
    )
    return mean, (mean - half, mean + half)


def compare(runs: Sequence[Results], metric: str = 'accuracy/top1') -> list[MethodResult]:
    """Compares every method with DynaKD, seed by seed.

    DynaKD's row is the lane that each run selected on val; its other candidates are left out.

    Args:
        runs: one for each seed.
        metric: to compare, in per cent.

    Returns:
        DynaKD first, then the baselines, best mean on test first.

    Examples:
        >>> from mmdynakd.values import typed
        >>> def row(name, role, top1):
        ...     return dict(name=name, role=role, val=dict(top1=top1), test=dict(top1=top1))
        >>> lanes = [row('cat1', 'candidate', 72.0), row('ce', 'baseline', 70.0)]
        >>> facts = dict(teachers=['a'], seed=0, epochs=1, device='CPU', versions={})
        >>> choice = dict(selected='cat1', selection='highest val', test_size=100)
        >>> run = typed(dict(**choice, **facts, lanes=lanes), Results)
        >>> [(method.method, method.difference) for method in compare([run], 'top1')]
        [('DynaKD (Cat*)', 0.0), ('ce', -2.0)]
    """
    found: dict[str, list[tuple[LaneResult, LaneResult]]] = {}
    for results in runs:
        ours = results.chosen
        for name, row in _methods(results).items():
            found.setdefault(name, []).append((row, ours))
    methods = [_method(name, pairs, metric) for name, pairs in found.items()]
    return sorted(methods, key=lambda row: (row.method != OURS, -statistics.fmean(row.test)))


def _methods(results: Results) -> Mapping[str, LaneResult]:
    """The lanes to compare, by the name of their method."""
    baselines = {row.name: row for row in results.lanes if row.role == 'baseline'}
    return {OURS: results.chosen, **baselines}


def _method(name: str, pairs: Sequence[tuple[LaneResult, LaneResult]], metric: str) -> MethodResult:
    test = tuple(row.test[metric] for row, _ in pairs)
    difference, interval = paired_interval(test, [ours.test[metric] for _, ours in pairs])
    return MethodResult(
        method=name,
        seeds=len(test),
        val=tuple(row.val[metric] for row, _ in pairs),
        test=test,
        difference=difference,
        interval=interval,
    )


def comparison_table(runs: Sequence[Results], metric: str = 'accuracy/top1') -> str:
    """Makes the Markdown table of :func:`compare`, and says below it what the numbers are.

    Args:
        runs: one for each seed.
        metric: to compare, in per cent.

    Examples:
        >>> from mmdynakd.values import typed
        >>> lane = dict(name='cat1', role='candidate', val=dict(top1=72.0), test=dict(top1=71.0))
        >>> versions = dict(mmdynakd='0.2.0', torch='2.11.0')
        >>> facts = dict(teachers=['a'], seed=0, epochs=1, device='CPU', versions=versions)
        >>> choice = dict(selected='cat1', selection='highest val', test_size=100)
        >>> run = typed(dict(**choice, **facts, lanes=[lane]), Results)
        >>> print(comparison_table([run], 'top1').splitlines()[2])
        | DynaKD (Cat*) | 72.00 | 71.00 | – | – |
    """
    lines = ['| method | val | test | test minus DynaKD | 95% interval |', '|---|---|---|---|---|']
    lines += [_line(row) for row in compare(runs, metric)]
    first = runs[0]
    seeds = ', '.join(str(run.seed) for run in runs)
    several = (
        "mean ± standard deviation over the seeds; the interval is Student's, of the paired "
        'differences'
        if len(runs) > 1
        else 'one seed: no spread and no interval can be given'
    )
    lines += [
        '',
        f'{metric} of the last epoch ({first.epochs} epochs), in per cent; seeds {seeds}; '
        f'{several}. Nothing was selected on test ({first.test_size} images); DynaKD is the best '
        f'of its candidates on val, which flatters its val accuracy. {first.device}, '
        f'mmdynakd {first.versions["mmdynakd"]}, torch {first.versions["torch"]}.',
    ]
    return '\n'.join(lines) + '\n'


def _line(row: MethodResult) -> str:
    scores = f'| {row.method} | {spread_text(row.val)} | {spread_text(row.test)} |'
    if row.method == OURS:
        return f'{scores} – | – |'
    interval = '–' if row.interval is None else '{:+.2f} … {:+.2f}'.format(*row.interval)
    return f'{scores} {row.difference:+.2f} | {interval} |'


def write_comparison(folder: str, runs: Sequence[Results], metric: str = 'accuracy/top1') -> str:
    """Writes ``comparison.json`` and ``comparison.md``.

    Args:
        folder: where to write.
        runs: one for each seed.
        metric: to compare, in per cent.

    Returns:
        The path of the table.

    Examples:
        >>> import os, tempfile
        >>> from mmdynakd.values import typed
        >>> lane = dict(name='cat1', role='candidate', val=dict(top1=72.0), test=dict(top1=71.0))
        >>> versions = dict(mmdynakd='0.2.0', torch='2.11.0')
        >>> facts = dict(teachers=['a'], seed=0, epochs=1, device='CPU', versions=versions)
        >>> choice = dict(selected='cat1', selection='highest val', test_size=100)
        >>> run = typed(dict(**choice, **facts, lanes=[lane]), Results)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write_comparison(folder, [run], 'top1')
        ...     sorted(os.listdir(folder))
        ['comparison.json', 'comparison.md']
    """
    write(folder, 'comparison.json', Comparison(methods=tuple(compare(runs, metric))))
    return write_text(folder, 'comparison.md', comparison_table(runs, metric))
