"""Parsers of foreign input: only their own errors get out, and what is valid comes back."""

import contextlib
import functools
import io
import json
import pickle
import string
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from written import CANDIDATES, RESULTS, holds

from mmdynakd import safe_load
from mmdynakd.datasets import safe_pickle
from mmdynakd.errors import CheckpointError, UserError
from mmdynakd.files import read_json
from mmdynakd.functional import as_simplex
from mmdynakd.models.fast import Fast
from mmdynakd.models.selections import CategoricalDistribution
from mmdynakd.models.teachers import RecordStore
from mmdynakd.models.teachers.checkpoints.layouts import LayoutError, match, recognise
from mmdynakd.models.teachers.checkpoints.loading import _place
from mmdynakd.models.teachers.checkpoints.naming import rename
from mmdynakd.models.teachers.store.shelves import FileShelf, StoreError
from mmdynakd.names import is_lane_name, is_plain_name
from mmdynakd.safe_load import read_checkpoint
from mmdynakd.values import plain, read_candidates, read_results

many = settings(
    deadline=None,
    derandomize=True,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
fewer = settings(many, max_examples=100)

integers = st.integers(-99, 99) | st.sampled_from([2**31, -(2**63), 10**400])
scalars = (
    st.none() | st.booleans() | integers | st.floats() | st.text(max_size=8) | st.binary(max_size=8)
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | integers, inner, max_size=4)
    ),
    max_leaves=12,
)
json_values = st.recursive(
    st.none() | st.booleans() | integers | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
tensors = st.sampled_from(
    [torch.zeros(2), torch.zeros(3, 2), torch.zeros(()), torch.ones(2, dtype=torch.int64)]
)


def outcome(act, mistake: type[Exception]):
    """What ``act`` gives, or the ``mistake`` that it raises."""
    try:
        return act()
    except mistake as error:
        return error


def paths_of(value, path=()):
    yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, child in items:
        yield from paths_of(child, (*path, key))


def mutated(valid):
    """``valid`` with another value at some place, or that place left out."""

    def change(arguments):
        path, value, leave_out = arguments
        content = json.loads(json.dumps(valid))
        node = content
        for key in path[:-1]:
            node = node[key]
        if not path:
            return value
        if leave_out:
            del node[path[-1]]
        else:
            node[path[-1]] = value
        return content

    return st.tuples(st.sampled_from(list(paths_of(valid))), json_values, st.booleans()).map(change)


# --- θ --------------------------------------------------------------------------------------------


@many
@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=6))
def test_theta_round_trips(weights):
    theta = (np.array(weights) / np.sum(weights)).tolist()
    names = list(string.ascii_lowercase[: len(theta)])
    found = as_simplex(theta, len(theta))
    assert found == pytest.approx(theta, abs=1e-12)
    assert abs(sum(found) - 1) < 1e-12
    fixed = CategoricalDistribution(names, dict(zip(names, theta)))
    again = CategoricalDistribution(names, json.loads(json.dumps(fixed.by_teacher())))
    assert again.probs() == pytest.approx(fixed.probs(), abs=1e-15)


@many
@given(anything, st.integers(1, 4))
def test_any_theta(probs, n):
    for parse in (
        lambda: as_simplex(probs, n),
        lambda: CategoricalDistribution(list('abcd'[:n]), probs).probs(),
    ):
        try:
            found = parse()
        except ValueError:
            continue
        assert abs(np.sum(found) - 1) < 1e-9 or (probs is None and len(found) == n)


@many
@given(st.dictionaries(st.sampled_from('abx'), anything, max_size=3), anything, anything)
def test_any_option_of_a_distribution(probs, classes, other):
    for options in (
        dict(probs=probs, num_classes=classes),
        dict(probs=other, num_classes=2),
        dict(scores=probs),
        dict(temperature=other),
        dict(granularity=other),
        dict(weight_by_probability=other),
        dict(entropy_weight=other),
    ):
        with contextlib.suppress(ValueError):
            CategoricalDistribution(['a', 'b'], **options)


# --- the config's small languages ----------


@many
@given(
    anything
    | st.dictionaries(st.sampled_from(['dtype', 'channels_last', 'fold', 'compile', 'x']), anything)
)
def test_fast(value):
    try:
        fast = Fast.parse(value)
    except ValueError:
        return
    assert Fast.parse(vars(fast)) == fast
    assert Fast.parse(fast) is fast


@many
@given(anything | st.dictionaries(st.sampled_from(['path', 'dtype', 'x']), anything))
def test_store(value):
    try:
        store = RecordStore.parse(value)
    except ValueError:
        return
    assert (
        store is None
        or RecordStore.parse(dict(path=store.path, dtype=store.dtype)).path == store.path
    )


@many
@given(st.dictionaries(st.sampled_from(['path', 'part', 'sha256', 'x']), anything))
def test_checkpoint_entry(value):
    found = outcome(lambda: _place(value, 't'), CheckpointError)
    if isinstance(found, CheckpointError):
        assert "Teacher 't'" in str(found)
    else:
        assert found[:2] == (value['path'], value.get('part'))


@many
@given(st.text())
def test_names_stay_in_their_folder(name):
    if is_plain_name(name):
        assert not set(name) & set('/\\\0\n')
        assert name.strip('.')
        assert not name.startswith('.')
    assert not is_lane_name(name) or (is_plain_name(name) and '.' not in name)


# --- checkpoints ----------------------------------------------------------------------------------

KEYS = st.sampled_from(
    [
        'state_dict',
        'model',
        'ema_state_dict',
        'conv.weight',
        'module.conv.weight',
        'fc.bias',
        'steps',
        'student.fc.bias',
        'teacher.fc.bias',
        'lanes.a.student.fc.bias',
        'classifier.1.weight',
        'epoch',
        'backbone.conv.weight',
        'head.fc.bias',
        'data_preprocessor.mean',
        'model.fc.bias',
        3,
        '',
    ]
)
payloads = st.recursive(
    tensors | scalars,
    lambda inner: st.dictionaries(KEYS, inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=10,
)
OWN = {
    'backbone.conv.weight': torch.zeros(2),
    'head.fc.bias': torch.zeros(3, 2),
    'data_preprocessor.mean': torch.ones(2),
}


@many
@given(
    payloads,
    st.none()
    | st.sampled_from(['student', 'teacher', 'a', 'ema_state_dict'])
    | st.text(max_size=3),
)
def test_any_payload(payload, part):
    found = outcome(lambda: recognise(payload, OWN, part), LayoutError)
    if not isinstance(found, LayoutError):
        layout, weights = found
        assert all(isinstance(value, torch.Tensor) for value in weights.values())
        assert '/' in layout
        found = outcome(lambda: match(weights, OWN), LayoutError)
    assert str(found) if isinstance(found, LayoutError) else list(found) == list(OWN)


@many
@given(
    st.sets(
        st.sampled_from(
            [
                'conv1.weight',
                'bn1.bias',
                'layer1.0.shortcut.0.weight',
                'fc.weight',
                'linear.bias',
                'classifier.0.weight',
                'classifier.3.weight',
                'backbone.conv1.weight',
                'head.fc.bias',
            ]
        )
    )
)
def test_naming(keys):
    try:
        _, renamed = rename({key: torch.zeros(1) for key in keys}, OWN)
    except LayoutError:
        return
    assert len(renamed) == len(keys)


def saved(as_archive: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(dict(a=torch.ones(2), b=[1, 'x']), buffer, _use_new_zipfile_serialization=as_archive)
    return buffer.getvalue()


SAVED = saved(False), saved(True)


@pytest.mark.parametrize('native', [True, False])
@many
@given(st.data())
def test_any_bytes_as_a_checkpoint(tmp_path_factory, native, data):
    content = bytearray(SAVED[data.draw(st.booleans())])
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, min(len(content), 700) - 1))] = data.draw(
            st.integers(0, 255)
        )
    content = data.draw(
        st.binary(max_size=40) | st.just(bytes(content[: data.draw(st.integers(0, len(content)))]))
    )
    path = tmp_path_factory.getbasetemp() / 'any.pth'
    path.write_bytes(content)
    with mock.patch.object(safe_load, 'NATIVE', (2, 6) if native else (99,)):
        found = outcome(lambda: read_checkpoint(path), CheckpointError)
    if isinstance(found, CheckpointError):
        assert 'damaged' in str(found) or 'refused' in str(found)


# --- CIFAR ----------


@many
@given(st.data())
def test_any_bytes_as_a_data_file(data):
    """A damaged pickle is the data set's own error at most, and nothing that it names is called."""
    valid = pickle.dumps(
        dict(data=np.zeros((2, 3), np.uint8), fine_labels=[1, 2]), data.draw(st.integers(0, 5))
    )
    content = bytearray(valid)
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = data.draw(st.binary(max_size=40) | st.just(bytes(content)))
    asked = []
    true_find = safe_pickle._ArrayUnpickler.find_class

    def find(self, module, name):
        asked.append((module, name))
        return true_find(self, module, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(safe_pickle._ArrayUnpickler, 'find_class', find)
        try:
            safe_pickle.load_arrays(content)
        except Exception:
            return
    assert {module.split('.')[0] for module, _ in asked} <= {'numpy', '_codecs'}


# --- JSON ----------


def write(tmp_path_factory, content: str | bytes) -> str:
    path = tmp_path_factory.getbasetemp() / 'any.json'
    path.write_bytes(
        content if isinstance(content, bytes) else content.encode('utf-8', 'surrogatepass')
    )
    return str(path)


@many
@given(
    st.one_of(json_values, mutated(CANDIDATES), mutated(RESULTS)).map(json.dumps)
    | st.binary()
    | st.text()
)
def test_any_json(tmp_path_factory, content):
    path = write(tmp_path_factory, content)
    for read in (read_candidates, lambda path: read_results(path, 'accuracy/top1')):
        found = outcome(functools.partial(read, path), UserError)
        if isinstance(found, UserError):
            assert path in str(found)
        else:
            assert holds(plain(found), json.loads(content))


@many
@given(json_values)
def test_json_round_trips(tmp_path_factory, value):
    text = json.dumps(value)
    try:
        assert read_json(write(tmp_path_factory, text)) == value
    except UserError:
        assert 'NaN' in text or 'Infinity' in text


LAYOUT = dict(structure=[0], leaves=[dict(shape=[3], served='float32', stored='float16')])


@fewer
@given(
    st.sampled_from(['key.json', 'layout.json']),
    st.one_of(json_values, mutated(LAYOUT)).map(json.dumps) | st.text(max_size=9),
)
def test_any_index_of_a_store(tmp_path_factory, name, content):
    folder = tmp_path_factory.mktemp('shelf')
    (folder / 'key.json').write_text('{"a": 1}')
    (folder / name).write_bytes(content.encode('utf-8', 'surrogatepass'))

    def fetch():
        shelf = FileShelf(str(folder), dict(a=1), 4, 'float16')
        return shelf.fetch(np.arange(4), torch.device('cpu'))

    found = outcome(fetch, StoreError)
    if isinstance(found, StoreError):
        assert str(folder) in str(found)
    else:
        known, leaves = found
        assert not known.any()
        assert all(len(leaf) == 0 for leaf in leaves)
