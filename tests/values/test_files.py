"""Values and their files: what is written is what is read, today's and yesterday's layout alike."""

import copy
import json
from pathlib import Path

import msgspec
import pytest
from written import CANDIDATES, RESULTS

from mmdynakd.errors import UserError
from mmdynakd.values import (
    FORMAT,
    Candidates,
    LaneResult,
    Results,
    TeacherReport,
    ThetaPoint,
    plain,
    read,
    read_candidates,
    read_results,
    typed,
    write,
)

# as a version before formats wrote them, keys in its order
OLD_CANDIDATES = dict(
    seed=3,
    teachers=['a', 'b'],
    candidates=[
        dict(
            name='cat1',
            lane='search',
            step=5,
            theta=dict(a=0.1, b=0.9),
            entropy=0.3250829733914482,
            upper_loss=1e-05,
        ),
        dict(
            name='fixed',
            lane='search',
            step=None,
            theta=dict(a=[0.5, 1.0], b=[0.5, 0.0]),
            entropy=0.0,
            upper_loss=None,
        ),
    ],
    merged=[
        dict(
            name='cat2',
            lane='search',
            step=10,
            theta=dict(a=0.1, b=0.9),
            entropy=0.3250829733914482,
            upper_loss=2.5,
            same_as='cat1',
        )
    ],
)
OLD_RESULTS = dict(
    selected='cat1',
    selection='highest val accuracy/top1 of the last epoch among the candidates',
    test_size=10000,
    teachers=['a', 'b'],
    seed=0,
    draw_seed=0,
    epochs=2,
    iterations=10,
    processes=1,
    device='CPU (x86_64)',
    config=None,
    config_sha256='0' * 64,
    versions=dict(mmdynakd='0.1.0', torch='2.11.0'),
    lanes=[
        dict(
            name='cat1',
            role='candidate',
            selection='CategoricalDistribution',
            teachers=['a', 'b'],
            theta=dict(a=0.1, b=0.9),
            entropy=0.3250829733914482,
            weight_by_probability=True,
            val={'accuracy/top1': 71.11000061035156},
            test={'accuracy/top1': 70.0},
            skipped=0,
        ),
        dict(
            name='ce',
            role='baseline',
            selection=None,
            teachers=[],
            theta=None,
            val={'accuracy/top1': 1e-07},
            test={'accuracy/top1': 70.0},
            skipped=2,
        ),
    ],
)
SEVERAL = dict(
    OLD_RESULTS,
    lanes=[dict(row, seed=seed) for seed in (0, 1) for row in OLD_RESULTS['lanes']],
    student_seed=1,
    seeds=[0, 1],
    summary=[
        dict(
            name='cat1',
            role='candidate',
            seeds=[0, 1],
            val=dict(mean=71.11, std=0.0),
            test=dict(mean=70.0, std=None),
        )
    ],
)
OLD_REPORT = dict(
    samples=dict(val=20, test=40),
    teachers=[
        dict(
            name='a',
            val=10.0,
            test=None,
            published=None,
            confidence=12.5,
            ece=0.1,
            parameters=10,
            multiply_adds=None,
            images_per_second=123.4,
            warnings=['a: near chance'],
        )
    ],
    agreement=dict(a=dict(a=1.0)),
    warnings=['a: near chance'],
)
CASES = {
    'candidates': (Candidates, OLD_CANDIDATES),
    'results': (Results, OLD_RESULTS),
    'several seeds': (Results, SEVERAL),
    'teachers': (TeacherReport, OLD_REPORT),
}


@pytest.mark.parametrize('case', CASES)
def test_an_old_file_is_read_and_written_with_a_format_in_front_and_else_byte_for_byte(
    tmp_path, case
):
    kind, content = CASES[case]
    (tmp_path / 'old.json').write_text(json.dumps(content))
    value = read(str(tmp_path / 'old.json'), kind, 'write it again')
    path = write(str(tmp_path), 'new.json', value)
    expected = json.dumps(dict(format=FORMAT, **content), indent=2, ensure_ascii=False) + '\n'
    assert Path(path).read_text(encoding='utf-8') == expected
    assert read(path, kind, 'write it again') == value


@pytest.mark.parametrize('read_it', [read_candidates, read_results])
def test_a_file_of_a_newer_format_is_refused_with_the_remedy(tmp_path, read_it):
    content = dict(CANDIDATES if read_it is read_candidates else RESULTS, format=FORMAT + 1)
    (tmp_path / 'file.json').write_text(json.dumps(dict(content, other='layout')))
    with pytest.raises(UserError, match=r'file\.json has format 2, which a newer .*: upgrade'):
        read_it(str(tmp_path / 'file.json'))


@pytest.mark.parametrize('number', [0, -1, True, None, 1.0, '1', [1], 10**400])
def test_a_format_that_is_none_is_an_error(tmp_path, number):
    (tmp_path / 'file.json').write_text(json.dumps(dict(CANDIDATES, format=number)))
    with pytest.raises(UserError, match=r'file\.json.*format'):
        read_candidates(str(tmp_path / 'file.json'))


def test_keys_of_a_later_version_and_numbers_of_a_plugin_are_kept():
    content = copy.deepcopy(OLD_RESULTS)
    content['note'] = 'later'
    content['lanes'][0]['temperature'] = 2.0
    results = typed(content, Results)
    assert results.more == dict(note='later')
    assert results.lanes[0].more == dict(temperature=2.0)
    assert plain(results) == content


def test_values_are_frozen():
    point = ThetaPoint(step=1, lane='search', theta=dict(a=1.0))
    with pytest.raises(AttributeError):
        point.step = 2
    with pytest.raises(msgspec.ValidationError):
        typed(dict(step=1), ThetaPoint)


def test_lanes_of_several_seeds_share_names_and_those_of_one_do_not():
    typed(SEVERAL, Results).check()
    twice = dict(OLD_RESULTS, lanes=OLD_RESULTS['lanes'] * 2)
    with pytest.raises(ValueError, match="the name 'cat1' is there twice"):
        typed(twice, Results).check()


def test_numbers_are_written_as_they_are(tmp_path):
    """Not rounded, and not as another library would print them."""
    lane = LaneResult(name='a', role='baseline', val={'x': 1e-05, 'y': 0.1 + 0.2}, test={})
    text = Path(write(str(tmp_path), 'lane.json', lane)).read_text()
    assert '"x": 1e-05' in text
    assert '"y": 0.30000000000000004' in text
    with pytest.raises(ValueError, match='not JSON compliant'):
        write(str(tmp_path), 'lane.json', msgspec.structs.replace(lane, val={'x': float('nan')}))


@pytest.mark.parametrize(
    ('path', 'value', 'words'),
    [
        ('summary.0.val.mean', 'high', "summary[0].val: mean must be a number, got 'high'"),
        ('summary.0.seeds', 3, 'summary[0]: seeds must be a list, got 3'),
        ('summary.0.val', [], 'summary[0]: val must be an object, got []'),
        ('lanes.2.skipped', -1, 'lanes[2]: skipped must be an integer >= 0, got -1'),
        ('lanes.0.vall', {}, ''),
        ('seeds.1', 'x', 'seeds must be a list'),
    ],
)
def test_a_mistake_far_inside_is_named(tmp_path, path, value, words):
    content = copy.deepcopy(SEVERAL)
    *parents, last = [int(key) if key.isdigit() else key for key in path.split('.')]
    node = content
    for key in parents:
        node = node[key]
    node[last] = value
    (tmp_path / 'file.json').write_text(json.dumps(content))
    if not words:  # a key that nobody knows is kept
        assert read_results(str(tmp_path / 'file.json')).lanes[0].more == {last: value}
        return
    with pytest.raises(UserError) as raised:
        read_results(str(tmp_path / 'file.json'))
    assert f'file.json: {words}' in str(raised.value)
    assert str(raised.value).endswith('run the evaluation again')


@pytest.mark.parametrize('key', ['x` - at `$.candidates[0]', 'x` - at `$.nowhere[9]', '` `', ''])
def test_a_key_that_looks_like_a_path_is_still_an_error_of_ours(tmp_path, key):
    (tmp_path / 'file.json').write_text(json.dumps({**CANDIDATES, key: 1}))
    with pytest.raises(UserError, match=r'file\.json: .*known are'):
        read_candidates(str(tmp_path / 'file.json'))
