"""The table over seeds, against scipy and by hand."""

import numpy as np
import pytest
from scipy import stats

from mmdynakd.report.comparison import OURS, compare, comparison_table, paired_interval
from mmdynakd.values import Results, typed

METRIC = 'accuracy/top1'


def results(seed, selected, **lanes):
    rows = [
        dict(
            name=name,
            role='candidate' if name.startswith('cat') else 'baseline',
            val={METRIC: val},
            test={METRIC: test},
        )
        for name, (val, test) in lanes.items()
    ]
    content = dict(
        seed=seed,
        selected=selected,
        selection='highest val',
        teachers=['a'],
        epochs=5,
        test_size=1000,
        device='CPU',
        lanes=rows,
        versions=dict(mmdynakd='0.1.0', torch='2.11.0'),
    )
    return typed(content, Results)


RUNS = [
    results(0, 'cat1', cat1=(50, 48), cat2=(49, 60), ce=(40, 41), aver=(52, 51)),
    results(1, 'cat2', cat1=(50, 70), cat2=(53, 52), ce=(42, 43), aver=(51, 50)),
    results(2, 'cat1', cat1=(51, 50), cat2=(47, 46), ce=(41, 39), aver=(53, 53)),
]


@pytest.mark.parametrize('n', [2, 3, 10])
def test_the_interval_is_scipys(n):
    a, b = np.random.default_rng(n).normal(50, 2, (2, n))
    mean, (low, high) = paired_interval(a.tolist(), b.tolist())
    own = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert mean == pytest.approx(np.mean(a - b))
    assert (low, high) == pytest.approx((own.low, own.high))


def test_one_seed_has_no_interval():
    assert paired_interval([3.0], [1.0]) == (2.0, None)
    assert '| ce | 40.00 | 41.00 | -7.00 | – |' in comparison_table(RUNS[:1])
    assert 'one seed: no spread' in comparison_table(RUNS[:1])


def test_dynakd_is_the_lane_chosen_on_val_in_each_seed():
    """Not the best on test (cat2 with 60 in seed 0, cat1 with 70 in seed 1)."""
    ours = compare(RUNS)[0]
    assert ours.method == OURS
    assert ours.test == (48, 52, 50)
    assert ours.val == (50, 53, 51)
    assert ours.difference == 0
    assert not {'cat1', 'cat2'} & {row.method for row in compare(RUNS)}


def test_differences_are_paired_by_seed():
    rows = {row.method: row for row in compare(RUNS)}
    assert rows['aver'].difference == pytest.approx(np.mean([3, -2, 3]))
    assert rows['ce'].difference == pytest.approx(np.mean([-7, -9, -11]))
    own = stats.t.interval(0.95, 2, loc=-9, scale=2 / np.sqrt(3))
    assert rows['ce'].interval == pytest.approx(own)
    assert [row.method for row in compare(RUNS)] == [OURS, 'aver', 'ce']


def test_a_method_that_some_seeds_lack_is_paired_with_those_it_has():
    runs = [RUNS[0], results(1, 'cat1', cat1=(50, 49))]
    row = {row.method: row for row in compare(runs)}['aver']
    assert row.seeds == 1
    assert row.difference == 3
    assert row.interval is None


def test_the_table():
    lines = comparison_table(RUNS).splitlines()
    assert lines[2] == f'| {OURS} | 51.33 ± 1.53 | 50.00 ± 2.00 | – | – |'
    assert lines[4] == '| ce | 41.00 ± 1.00 | 41.00 ± 2.00 | -9.00 | -13.97 … -4.03 |'
    assert 'seeds 0, 1, 2' in lines[-1]
    assert '(5 epochs)' in lines[-1]
    assert 'Nothing was selected on test' in lines[-1]
    assert 'best of its candidates on val' in lines[-1]
