"""ECE and the tests of proportions against plain loops and closed forms."""

import math

import pytest
import torch

from mmdynakd.functional.calibration import (
    expected_calibration_error,
    one_proportion_z,
    two_proportion_z,
)


def ece_by_loop(confidence, correct, bins):
    total = 0.0
    for m in range(1, bins + 1):
        low, high = (m - 1) / bins, m / bins
        members = [i for i, c in enumerate(confidence) if low < c <= high or (m == 1 and c == 0)]
        if members:
            accuracy = sum(correct[i] for i in members) / len(members)
            mean = sum(confidence[i] for i in members) / len(members)
            total += len(members) / len(confidence) * abs(accuracy - mean)
    return total


@pytest.mark.parametrize('bins', [1, 7, 15])
def test_ece_is_the_plain_loop(bins):
    generator = torch.Generator().manual_seed(bins)
    confidence = torch.rand(500, generator=generator, dtype=torch.float64)
    correct = torch.rand(500, generator=generator) < 0.6
    expected = ece_by_loop(confidence.tolist(), correct.tolist(), bins)
    assert expected > 0.01
    assert expected_calibration_error(confidence, correct, bins) == pytest.approx(
        expected, abs=1e-12
    )


def test_ece_at_edges_and_where_it_is_known():
    edges = torch.tensor(
        [0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64
    )  # exact in binary: 4 bins
    correct = torch.tensor([True, False, False, True, True])
    assert expected_calibration_error(edges, correct, 4) == pytest.approx(
        ece_by_loop(edges.tolist(), correct.tolist(), 4)
    )
    # {0, .25} share the first bin: |1 - .25| / 5; then .5, .25 and 0
    assert expected_calibration_error(edges, correct, 4) == pytest.approx(
        (0.75 + 0.5 + 0.25 + 0) / 5
    )
    sure = torch.full((10,), 0.9)
    right = torch.arange(10) < 7
    assert expected_calibration_error(sure, right) == pytest.approx(0.2, abs=1e-6)
    assert expected_calibration_error(torch.ones(4), torch.ones(4, dtype=torch.bool)) == 0


def test_ece_refuses_what_is_no_probability():
    for confidence, correct in (
        (torch.zeros(0), torch.zeros(0, dtype=torch.bool)),
        (torch.rand(3), torch.ones(2)),
    ):
        with pytest.raises(ValueError, match='one shape'):
            expected_calibration_error(confidence, correct)
    for value in (1.5, -0.1, float('nan')):
        with pytest.raises(ValueError, match='outside'):
            expected_calibration_error(torch.tensor([value]), torch.tensor([True]))
    with pytest.raises(ValueError, match='bins=0'):
        expected_calibration_error(torch.rand(3), torch.ones(3), 0)


def test_z_of_two_proportions_is_the_root_of_chi_square():
    table = [[452, 48], [371, 129]]  # right, wrong: of 500 each
    total, chi = 1000, 0.0
    for row in table:
        for column, observed in enumerate(row):
            expected = sum(row) * sum(line[column] for line in table) / total
            chi += (observed - expected) ** 2 / expected
    z = two_proportion_z(452, 500, 371, 500)
    assert z == pytest.approx(math.sqrt(chi))
    assert two_proportion_z(371, 500, 452, 500) == pytest.approx(-z)
    assert two_proportion_z(5, 5, 7, 7) == two_proportion_z(0, 5, 0, 7) == 0
    with pytest.raises(ValueError, match='6 of 5'):
        two_proportion_z(6, 5, 1, 5)


def test_z_of_one_proportion():
    assert one_proportion_z(60, 100, 0.5) == pytest.approx(2.0)
    assert one_proportion_z(1, 100, 0.01) == pytest.approx(0.0)
    for arguments in ((1, 0, 0.5), (3, 2, 0.5), (1, 2, 1.0)):
        with pytest.raises(ValueError, match=r'in 0\.\.total'):
            one_proportion_z(*arguments)
