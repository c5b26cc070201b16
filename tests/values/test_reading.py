"""candidates.json and results.json: what may be in them; else one error: file, entry and key."""

import copy
import json

import pytest
from written import CANDIDATES, RESULTS, THETA, holds

from mmdynakd.errors import UserError
from mmdynakd.values import plain, read_candidates, read_results


def changed(content: dict, path: str, value) -> dict:
    """A copy with ``value`` at the place, ``...`` for none."""
    content = copy.deepcopy(content)
    *parents, last = [int(key) if key.isdigit() else key for key in path.split('.')]
    node = content
    for key in parents:
        node = node[key]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return content


def written(tmp_path, content) -> str:
    path = tmp_path / 'file.json'
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return str(path)


def test_valid_files_are_read_as_they_are(tmp_path):
    assert plain(read_candidates(written(tmp_path, CANDIDATES))) == CANDIDATES
    assert holds(plain(read_results(written(tmp_path, RESULTS), 'accuracy/top1')), RESULTS)
    by_class = changed(CANDIDATES, 'candidates.0.theta', dict(a=[0.5, 1.0], b=[0.5, 0.0]))
    assert plain(read_candidates(written(tmp_path, by_class))) == by_class
    minimal = dict(teachers=['a'], candidates=[dict(name='x', theta=dict(a=1))])
    assert holds(plain(read_candidates(written(tmp_path, minimal))), minimal)


TEXTS = {
    'empty': (b'', 'is not valid JSON'),
    'cut': (json.dumps(CANDIDATES).encode()[:-9], 'is not valid JSON .* cut short'),
    'NaN': (b'{"seed": NaN}', 'is not valid JSON .*NaN'),
    'infinity': (b'[-Infinity]', 'Infinity'),
    'not UTF-8': (b'{"\xff": 1}', r'is not UTF-8 text \(byte 2\)'),
    'UTF-16': ('{}'.encode('utf-16'), 'UTF-8'),
    'deep': (b'[' * 100_000, 'nested too deep|recursion'),
    'a list': (b'[]', r'an object is needed, got \[\]'),
    'a key twice': (b'{"seed": 1, "seed": 2}', "the key 'seed' is there twice"),
    'a number': (b'1' * 5000, 'is not valid JSON'),
    'a page': (b'<html>404', 'is not valid JSON'),
}
BAD_CANDIDATES = [
    ('teachers', ..., "the key 'teachers' is missing"),
    ('candidates', [], 'candidates is empty'),
    ('candidates', {}, 'candidates must be a list'),
    ('teachers', [], 'teachers must be a list of different names'),
    ('teachers', ['a', 'a'], 'different names'),
    ('teachers', [1], 'different names'),
    ('seed', -1, 'seed must be'),
    ('seed', True, 'seed must be'),
    ('candidats', 1, r"unknown key 'candidats' \(did you mean 'candidates'\?\)"),
    ('candidates.0', 3, r'candidates\[0\]: an object is needed, got 3'),
    (
        'candidates.1.thetas',
        {},
        r"candidates\[1\]: unknown key 'thetas' \(did you mean 'theta'\?\)",
    ),
    ('candidates.1.theta', ..., "the key 'theta' is missing"),
    ('candidates.0.name', ..., "'name' is missing"),
    ('candidates.1.name', 'cat1', "the name 'cat1' is there twice"),
    ('candidates.1.step', 1.5, 'step must be'),
    ('candidates.1.entropy', 'x', r'candidates\[1\]: entropy must be a number'),
    ('candidates.0.upper_loss', [], 'upper_loss must be'),
    ('merged', 'x', 'merged must be a list'),
    ('merged', [dict(name='cat1', theta=THETA)], "'cat1' is there twice"),
    *(
        ('candidates.0.name', name, r'candidates\[0\]: name must be a name without')
        for name in (
            '',
            '../x',
            '/etc/passwd',
            'a/b',
            'a\\b',
            'a\0b',
            'a.b',
            ' a',
            'my_loss',
            'x' * 101,
            3,
            None,
            'a\nb',
        )
    ),
    ('candidates.0.theta', {}, 'it is empty'),
    ('candidates.0.theta', [1], 'theta must be {teacher: probability}'),
    (
        'candidates.0.theta',
        dict(a=0.5, b=0.6),
        r"candidates\[0\] \('cat1'\): theta: θ sums to 1.1, not 1",
    ),
    ('candidates.0.theta', dict(a=-0.5, b=1.5), 'a negative probability'),
    ('candidates.0.theta', dict(a='1'), 'must be'),
    ('candidates.0.theta', dict(a=1, ghost=0), "unknown: 'ghost'"),
    ('candidates.0.theta', dict(a=True), 'must be'),
    ('candidates.0.theta', dict(a=10**400, b=0), 'must be'),
    ('candidates.0.theta', dict(a=[1], b=0), 'one number a teac'),
    ('candidates.0.theta', dict(a=[1], b=[0, 1]), r'lists of \[1, 2\] classes'),
    ('candidates.0.theta', dict(a=[], b=[]), r'lists of \[0, 0\] classes'),
    ('candidates.0.theta', dict(a=[1, 1], b=[0, 1]), 'theta: class 1: θ sums to 2'),
]
BAD_RESULTS = [
    ('selected', 'ghost', "selected is 'ghost', which is none of the lanes"),
    ('lanes', ..., "'lanes' is missing"),
    ('lanes', [], 'none of the lanes'),
    ('lanes.1.name', 'cat1', "'cat1' is there twice"),
    ('epochs', 2.5, 'epochs must'),
    ('lanes.1.role', 'rival', r"lanes\[1\]: role must be 'candidate' or 'baseline'"),
    ('versions', [], 'versions must'),
    ('lanes.0.val', {'accuracy/top1': 'high'}, r'lanes\[0\]: val must be'),
    ('lanes.0.test', ..., "'test' is missing"),
    (
        'lanes.0.val',
        {'accuracy/top': 1},
        r"\('cat1'\): val has no 'accuracy/top1' \(did you mean 'accuracy/top'\?\)",
    ),
    ('lanes.0.theta', dict(a=2), 'θ sums to 2'),
    ('test_size', '40', 'test_size must'),
    ('lanes.0', None, 'an object'),
]


@pytest.mark.parametrize('read', [read_candidates, read_results])
@pytest.mark.parametrize('case', TEXTS)
def test_a_text_that_is_none(tmp_path, read, case):
    content, pattern = TEXTS[case]
    with pytest.raises(UserError, match=f'file.json.*({pattern})'):
        read(written(tmp_path, content))


@pytest.mark.parametrize(('path', 'value', 'pattern'), BAD_CANDIDATES)
def test_candidates(tmp_path, path, value, pattern):
    with pytest.raises(UserError, match=f'file.json.*({pattern})'):
        read_candidates(written(tmp_path, changed(CANDIDATES, path, value)))


@pytest.mark.parametrize(('path', 'value', 'pattern'), BAD_RESULTS)
def test_results(tmp_path, path, value, pattern):
    with pytest.raises(UserError, match=f'file.json.*({pattern})'):
        read_results(written(tmp_path, changed(RESULTS, path, value)), 'accuracy/top1')


def test_files_that_are_none(tmp_path):
    with pytest.raises(UserError, match=r'no\.json is missing'):
        read_candidates(str(tmp_path / 'no.json'))
    with pytest.raises(UserError, match=r'cannot be read .*directory'):
        read_results(str(tmp_path))
