"""The entries of the optimizer: names of students' and of θ's, told apart in one place."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import mmdynakd
from mmdynakd.entries import GUARD, expand_schedulers, is_theta, lane_of, theta_entry
from mmdynakd.names import is_lane_name


@pytest.mark.parametrize('lane', ['search', 'theta', 'cat1', 'a b', 'mytheta'])
def test_a_lane_and_its_theta(lane):
    assert is_lane_name(lane)
    assert not is_theta(lane)
    assert lane_of(lane) == lane
    assert is_theta(theta_entry(lane))
    assert lane_of(theta_entry(lane)) == lane
    assert theta_entry(lane) == f'{lane}.theta'  # in checkpoints: it stays


def test_no_lane_can_be_taken_for_an_entry_of_another_kind():
    assert not is_lane_name(theta_entry('search'))
    assert not is_lane_name(GUARD)
    assert not is_theta(GUARD)
    assert GUARD == '.skipped'  # in checkpoints: it stays


def test_schedulers_are_one_copy_an_entry():
    algorithm = SimpleNamespace(lanes=['a', 'b'], searched=['a'])
    student, theta = [dict(type='StepLR')], dict(type='LinearLR')
    made = expand_schedulers(dict(student=student, theta=theta), algorithm)
    assert made == {'a': student, 'b': student, 'a.theta': theta}
    assert made['a'] is not made['b']
    assert expand_schedulers(None, algorithm) is None
    with pytest.raises(ValueError, match=r"not 'thetas' \(did you mean 'theta'\?\)"):
        expand_schedulers(dict(thetas=theta), algorithm)


def test_only_entries_py_spells_the_suffix():
    root = Path(mmdynakd.__file__).parent
    spelled = {
        str(path.relative_to(root))
        for path in root.rglob('*.py')
        if re.search(r"""['"]\.(theta|skipped)['"]""", path.read_text(encoding='utf-8'))
    }
    assert spelled == {'entries.py'}
