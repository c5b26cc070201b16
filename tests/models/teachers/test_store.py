"""The store of teachers' records: what it serves is what the teacher says, or nothing."""

import errno
import itertools
import json
import os
import signal
import time

import numpy as np
import pytest
import torch
from toys import (
    PREPROCESSOR,
    bilevel,
    built,
    differing,
    dynakd_cfg,
    made_batch,
    prepared,
    snapshot,
    teacher_cfg,
)

from mmdynakd.models.fast import Fast
from mmdynakd.models.samples import BatchViews, Samples
from mmdynakd.models.teachers import OUTPUTS, RecordStore, StoreError
from mmdynakd.models.teachers.records import flatten, rebuild
from mmdynakd.models.teachers.store.rows import Leaf, RowFormat
from mmdynakd.models.teachers.store.shelves import FileShelf, MemoryShelf
from mmdynakd.registry import MODELS

SIZE = 12  # samples of the split
CPU = torch.device('cpu')


@MODELS.register_module(force=True)
class ViewedPreprocessor(MODELS.get('mmpretrain.ClsDataPreprocessor')):
    """Takes the views from the batch: here the pixels of a view are a function of its id."""

    def forward(self, data, training=False):
        views = data.get('views')
        out = super().forward({k: v for k, v in data.items() if k != 'views'}, training)
        if views is not None:
            labels = torch.cat([sample.gt_label for sample in out['data_samples']])
            out['data_samples'] = Samples(out['data_samples'], labels, views)
        return out


def viewed_batch(ids, source='pixels'):
    parts = [made_batch(1, seed=int(i)) for i in ids]
    return dict(
        inputs=[part['inputs'][0] for part in parts],
        data_samples=[part['data_samples'][0] for part in parts],
        views=BatchViews(source, SIZE, torch.tensor(ids)),
    )


def model_of(store, **options):
    model = built(dynakd_cfg(2, store=store, **options))
    model.data_preprocessor = MODELS.build(dict(type='ViewedPreprocessor'))
    return model


def batches(epochs=2, size=4):
    """Ids of the batches of some epochs, each in an order of its own."""
    generator = np.random.default_rng(0)
    return [
        (epoch * SIZE + part).tolist()
        for epoch in range(epochs)
        for part in generator.permutation(SIZE).reshape(-1, size)
    ]


def train(model):
    """Trains on all batches; returns the student's state, and how many images each teacher saw."""
    seen = {name: 0 for name in model.ensemble.names}

    def count(name):
        def hook(module, inputs, output):
            seen[name] += len(inputs[0])

        return hook

    for name, network in model.ensemble.networks.items():
        network.backbone.register_forward_hook(count(name))
    optim = bilevel(model)
    for ids in batches():
        model.upper_step(
            {**viewed_batch(range(4)), 'views': BatchViews('val', SIZE, torch.arange(4))}, optim
        )
        model.train_step(viewed_batch(ids), optim)
    return snapshot(model.lanes), seen


@pytest.mark.parametrize(
    'options',
    [{}, dict(selection=dict(granularity='sample', weight_by_probability='none'))],
    ids=['step', 'sample'],
)
def test_a_later_run_runs_no_teacher_and_ends_at_the_same_weights(tmp_path, options):
    plain, _ = train(model_of(None, **options))
    first, seen = train(model_of(dict(path=tmp_path, dtype='float32'), **options))
    assert seen['t0'] > 0
    assert seen['t1'] > 0
    second, again = train(model_of(dict(path=tmp_path, dtype='float32'), **options))
    assert again == {'t0': 0, 't1': 0}
    assert not differing(first, second)
    if not options:  # a teacher's pass over its share is one over the batch, to rounding
        assert not differing(plain, first)
    for key, value in plain.items():
        torch.testing.assert_close(first[key], value)


def test_float16_is_the_same_from_the_first_run_on_and_its_error_is_measured(tmp_path):
    model = model_of(str(tmp_path))
    first, _ = train(model)
    second, seen = train(model_of(str(tmp_path)))
    assert seen == {'t0': 0, 't1': 0}
    assert not differing(first, second)
    plain, _ = train(model_of(None))
    assert differing(plain, first)
    logits = []
    for ids in batches():
        inputs, _ = prepared(model, viewed_batch(ids))
        logits += [
            model.ensemble._compute(name, inputs)[OUTPUTS][0] for name in model.ensemble.names
        ]
    bound = max(float(part.abs().max()) for part in logits) * 2**-11
    assert 0 < model.ensemble.store.error() <= bound


def runs(model, ids, names=('t0',), source='pixels'):
    """Records of the first teacher, and on how many images it ran."""
    seen = []
    handle = model.ensemble.networks['t0'].backbone.register_forward_hook(
        lambda m, i, o: seen.append(len(i[0]))
    )
    inputs, samples = prepared(model, viewed_batch(ids, source))
    records = model.ensemble.run(names, inputs, views=samples.views)
    handle.remove()
    return records['t0'], sum(seen)


@pytest.mark.parametrize('path', [None, 'files'])
def test_what_is_missing_alone_is_computed(tmp_path, path):
    model = model_of(None)
    model.ensemble.store = RecordStore(path and str(tmp_path / path), 'float32')
    runs(model, [1, 5, 9])
    records, seen = runs(model, [9, 2, 5, 3, 1])
    assert seen == 2
    expected = model.ensemble._compute('t0', prepared(model, viewed_batch([9, 2, 5, 3, 1]))[0])
    assert records.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(records[key], value, rtol=1e-6, atol=1e-6)
    assert runs(model, [1, 2, 3, 5, 9])[1] == 0
    if path:
        assert runs(model, [1 + SIZE])[1] == 1  # the next epoch's view


def other_weight(model):
    with torch.no_grad():
        next(model.ensemble.networks['t0'].parameters()).view(-1)[0] += 1e-6


def other_statistics(model):
    model.ensemble.networks['t0'].data_preprocessor.mean += 1


def other_colours(model):
    model.ensemble.networks['t0'].data_preprocessor._channel_conversion = True


def other_recorder(model):
    model.ensemble.record('t0', dict(type='ModuleOutputs', source='backbone.conv1'))


def other_speed(model):
    model.ensemble.fast = Fast(channels_last=True)


def other_type(model):
    model.ensemble.store.dtype = 'float32'


def other_module(model):
    model.ensemble.networks['t0'].backbone.conv2.padding = (0, 0)


@pytest.mark.parametrize(
    'change',
    [
        other_weight,
        other_statistics,
        other_colours,
        other_recorder,
        other_speed,
        other_type,
        other_module,
    ],
)
def test_another_teacher_is_never_served(tmp_path, change):
    runs(model_of(str(tmp_path)), [0, 1])
    same = model_of(str(tmp_path))
    assert runs(same, [0, 1])[1] == 0
    changed = model_of(str(tmp_path))
    change(changed)
    assert runs(changed, [0, 1])[1] > 0
    assert runs(model_of(str(tmp_path)), [0, 1], source='other pixels')[1] > 0


def shelf_in(folder, dtype='float32', key='key'):
    return FileShelf(str(folder), dict(key=key), SIZE, dtype)


def value(view):
    """A deterministic payload of a view."""
    return torch.from_numpy(np.random.default_rng(int(view)).standard_normal(5).astype(np.float32))


def put(shelf, ids):
    ids = np.asarray(ids)
    structure, leaves = flatten({'a': [torch.stack([value(i) for i in ids])]})
    shelf.keep(ids, structure, shelf.quantise(leaves))


def served(shelf, ids):
    """The views among ``ids`` that the shelf serves; what it serves must be theirs."""
    ids = np.asarray(ids)
    known, leaves = shelf.fetch(ids, CPU)
    for view, row in zip(ids[known], leaves[0] if known.any() else [], strict=True):
        assert torch.equal(row, value(view))
    return ids[known].tolist()


def rows_file(folder, epoch=0):
    return folder / f'epoch_{epoch:05d}.rows'


def test_a_row_that_was_not_written_to_its_end_or_lies_elsewhere_is_unknown(tmp_path):
    put(shelf_in(tmp_path), [0, 1, 2, 3])
    content = bytearray(rows_file(tmp_path).read_bytes())
    row = len(content) // SIZE
    content[row + 9] ^= 1  # a bit of view 1
    content[2 * row : 2 * row + 6] = bytes(6)  # the beginning of view 2
    content[5 * row : 6 * row] = content[3 * row : 4 * row]  # view 3 where view 5 belongs
    rows_file(tmp_path).write_bytes(content)
    assert served(shelf_in(tmp_path), range(SIZE)) == [0, 3]
    put(shelf_in(tmp_path), [1, 2, 5])
    assert served(shelf_in(tmp_path), range(SIZE)) == [0, 1, 2, 3, 5]


def test_a_file_cut_short_is_made_anew(tmp_path):
    put(shelf_in(tmp_path), [0, 1, SIZE])
    with open(rows_file(tmp_path), 'r+b') as file:
        file.truncate(50)
    assert served(shelf_in(tmp_path), [0, 1, SIZE]) == [SIZE]
    put(shelf_in(tmp_path), [1])
    assert served(shelf_in(tmp_path), [0, 1, SIZE]) == [1, SIZE]
    assert not list(tmp_path.glob('*.tmp*'))


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('key.json', '{'),
        ('layout.json', '{"structure": 0}'),
        ('layout.json', '[]'),
        ('layout.json', '\xff'),
        (
            'layout.json',
            '{"structure": 0, "leaves": [{"shape": [5], "served": "load", "stored": "float32"}]}',
        ),
    ],
)
def test_a_damaged_folder_is_an_error_that_names_it(tmp_path, name, text):
    put(shelf_in(tmp_path), [0])
    (tmp_path / name).write_bytes(text.encode('latin-1'))
    with pytest.raises(StoreError, match=rf'{name}.*remove the folder'):
        shelf_in(tmp_path)


def test_a_folder_of_another_key_is_an_error(tmp_path):
    shelf_in(tmp_path)
    with pytest.raises(StoreError, match='other teachers or data'):
        shelf_in(tmp_path, key='another')


def test_killed_while_writing_it_serves_only_what_is_whole(tmp_path):
    generator, found = np.random.default_rng(0), set()
    for _ in range(20):
        child = os.fork()
        if not child:
            shelf = shelf_in(tmp_path)
            for k in itertools.count():
                put(shelf, [(7 * k + i) % (3 * SIZE) for i in range(4)])
        time.sleep(generator.uniform(0, 0.2))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found.update(served(shelf_in(tmp_path), range(3 * SIZE)))
    assert found  # or nothing was tried


def test_two_writers_share_a_folder(tmp_path):
    first, second = shelf_in(tmp_path), shelf_in(tmp_path)
    for i in range(SIZE):
        put((first, second)[i % 2], [i, 2 * SIZE - 1 - i])
    for shelf in (first, second):
        assert served(shelf, range(2 * SIZE)) == list(range(2 * SIZE))


def test_on_a_full_disk_training_goes_on(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'posix_fallocate', full)
    model = model_of(dict(path=tmp_path, dtype='float32'))
    state, seen = train(model)
    assert not differing(state, train(model_of(None))[0])
    assert seen['t0'] > 0
    assert not any(shelf.writable for shelf in model.ensemble.store._shelves.values())
    assert not list(tmp_path.rglob('*.rows'))
    assert not list(tmp_path.rglob('*.tmp*'))


def test_a_read_only_file_is_read(tmp_path, monkeypatch):
    put(shelf_in(tmp_path), [0, 1])
    monkeypatch.setattr(os, 'access', lambda *_: False)
    shelf = shelf_in(tmp_path)
    put(shelf, [2])
    assert not shelf.writable
    assert served(shelf, [0, 1, 2]) == [0, 1]


def test_no_more_than_two_files_stay_open(tmp_path):
    shelf = shelf_in(tmp_path)
    put(shelf, [SIZE * epoch for epoch in range(6)])
    assert served(shelf, [SIZE * epoch for epoch in range(6)]) == [
        SIZE * epoch for epoch in range(6)
    ]
    assert len(shelf._epochs) <= 2


def test_its_size_is_said_before_a_byte_is_written(tmp_path):
    said = []
    shelf = FileShelf(
        str(tmp_path),
        {},
        SIZE,
        'float16',
        lambda row: said.append((row, sorted(os.listdir(tmp_path)))),
    )
    put_values = torch.ones(2, 5)
    shelf.keep(np.array([0, 1]), *flatten({'a': [put_values]}))
    assert said == [
        (16, ['key.json'])
    ]  # 4 bytes of checksum, 5 numbers of 2 bytes, up to a multiple of 8
    assert rows_file(tmp_path).stat().st_size == 16 * SIZE


def test_what_does_not_fit_float16_is_an_error(tmp_path):
    shelf = shelf_in(tmp_path, 'float16')
    with pytest.raises(StoreError, match="dtype='float32'"):
        shelf.quantise([torch.tensor([[70000.0]])])
    assert (
        shelf.quantise([torch.tensor([[2**40]])])[0].item() == 2**40
    )  # integers are kept as they are


OLD_KEY = '{"key": "old"}'
OLD_LAYOUT = json.dumps(
    {
        'structure': {'dict': {'a': {'list': [0]}, 'b': {'list': [1, {'tuple': [2, 3]}]}}},
        'leaves': [
            {'shape': [3], 'served': 'float32', 'stored': 'float16'},
            {'shape': [], 'served': 'int64', 'stored': 'int64'},
            {'shape': [], 'served': 'bool', 'stored': 'bool'},
            {'shape': [2, 2], 'served': 'float64', 'stored': 'float16'},
        ],
    }
)
UNWRITTEN = bytes(32)
OLD_ROWS = {  # written before rows had a structured type: checksum, four tensors, zeros
    0: 2 * UNWRITTEN
    + bytes.fromhex('f8c4929a 003e00c00034 0700000000000000 01 003c004000420044 0000000000'),
    1: UNWRITTEN
    + bytes.fromhex('1af131e8 0042004400b8 f7ffffffffffffff 00 0045004600470048 0000000000')
    + UNWRITTEN,
}
OLD_RECORD = {
    'a': [torch.tensor([[1.5, -2.0, 0.25], [3.0, 4.0, -0.5]])],
    'b': [
        torch.tensor([7, -9]),
        (
            torch.tensor([True, False]),
            torch.arange(1, 9, dtype=torch.float64).view(2, 2, 2),
        ),
    ],
}


def test_an_old_store_is_read(tmp_path):
    (tmp_path / 'key.json').write_text(OLD_KEY)
    (tmp_path / 'layout.json').write_text(OLD_LAYOUT)
    for epoch, content in OLD_ROWS.items():
        rows_file(tmp_path, epoch).write_bytes(content)
    shelf = FileShelf(str(tmp_path), dict(key='old'), 3, 'float16')
    known, leaves = shelf.fetch(np.arange(6), CPU)
    assert known.tolist() == [False, False, True, False, True, False]
    structure, expected = flatten(OLD_RECORD)
    assert shelf.structure == structure
    for found, leaf in zip(leaves, expected, strict=True):
        assert found.dtype == leaf.dtype
        assert torch.equal(found, leaf)


def test_a_new_store_has_the_bytes_of_an_old_one(tmp_path):
    shelf = FileShelf(str(tmp_path), dict(key='old'), 3, 'float16')
    structure, leaves = flatten(OLD_RECORD)
    shelf.keep(np.array([2, 4]), structure, shelf.quantise(leaves))
    for epoch, content in OLD_ROWS.items():
        assert rows_file(tmp_path, epoch).read_bytes() == content
    assert json.loads((tmp_path / 'layout.json').read_text()) == json.loads(OLD_LAYOUT)


@pytest.mark.parametrize('stored', ['object', 'bfloat16', 'load', 'O'])
def test_a_row_of_objects_or_unknown_numbers_is_refused(stored):
    with pytest.raises((ValueError, TypeError)):
        RowFormat([Leaf([2], 'float32', stored)])


def test_structures_come_back():
    record = {
        'a': [torch.ones(2, 1), (torch.zeros(2, 3), [torch.ones(2)])],
        'outputs': [torch.ones(2, dtype=torch.long)],
    }
    structure, leaves = flatten(record)
    again = rebuild(json.loads(json.dumps(structure)), leaves)
    assert again['a'][0] is record['a'][0]
    assert type(again['a'][1]) is tuple
    assert again['a'][1][1][0] is leaves[2]
    with pytest.raises(TypeError, match='NoneType'):
        flatten([None])


def test_a_record_without_a_row_a_sample_is_an_error(tmp_path):
    model = model_of(str(tmp_path))
    model.ensemble.record('t0', dict(type='Parameter', source='head.fc.weight'))
    with pytest.raises(StoreError, match=r"teacher 't0'.*model\.store=None"):
        runs(model, [0, 1])


def test_in_memory_nothing_is_kept_beyond_the_limit():
    model = model_of(None)
    row = 4 * (5 + 5)  # the logits, as the recorder and as the network gives them
    for limit, again in ((row * SIZE, 0), (row * SIZE - 1, 2)):
        model.ensemble.store = store = RecordStore(limit=limit)
        runs(model, [0, 1])
        assert (runs(model, [0, 1])[1], store.full, store.wanted) == (again, again > 0, row * SIZE)
    assert isinstance(next(iter(store._shelves.values())), MemoryShelf)


def test_a_batch_without_views_is_an_error_that_names_the_remedy(tmp_path):
    model = built(dynakd_cfg(2, store=str(tmp_path)))
    with pytest.raises(ValueError, match=r'model\.store.*mmdynakd\.ViewSampler'):
        model.loss(*prepared(model, made_batch()))


@pytest.mark.parametrize(
    ('store', 'message'),
    [
        (3, 'store must be a folder'),
        (dict(dtype='float16'), 'store must be'),
        (dict(path='x', size=3), 'store must be'),
        (dict(path='x', dtype='int8'), 'model.store.dtype'),
    ],
)
def test_a_wrong_store_is_an_error_at_build_time(store, message):
    with pytest.raises(ValueError, match=message):
        built(dynakd_cfg(2, store=store))


def test_a_path_that_is_no_folder_is_an_error(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(StoreError, match=r'set model\.store\.path'):
        runs(model_of(str(tmp_path / 'file')), [0])


def test_folded_teachers_are_keyed_by_the_weights_that_were_loaded(tmp_path):
    def resnets():
        model = model_of(str(tmp_path), fast='fp32')
        torch.manual_seed(0)
        model.ensemble.networks['t0'] = built(
            teacher_cfg(backbone='resnet', data_preprocessor=PREPROCESSOR)['model']
        )
        model.ensemble.networks['t0'].eval().requires_grad_(False)
        model.ensemble._recorders['t0'] = {}
        return model

    first = resnets()
    runs(first, [0, 1])
    runs(first, [2], source='elsewhere')  # asked for once it is folded
    second = resnets()
    assert runs(second, [2], source='elsewhere')[1] == 0
    assert runs(second, [0, 1])[1] == 0


def test_a_store_of_one_source_serves_that_source_only():
    model = model_of(None)
    ran = []
    for name, network in model.ensemble.networks.items():
        network.backbone.register_forward_hook(lambda *_, name=name: ran.append(name))
    optim = bilevel(model)
    model.ensemble.keep('val', RecordStore())
    val = {**viewed_batch(range(4)), 'views': BatchViews('val', SIZE, torch.arange(4))}
    other = {**val, 'views': BatchViews('another', SIZE, torch.arange(4))}
    for batch, passes in ((val, 2), (val, 0), (other, 2), (other, 2)):
        ran.clear()
        model.upper_step(batch, optim)
        assert len(ran) == passes
    model.ensemble.drop('val')
    ran.clear()
    model.upper_step(val, optim)
    assert len(ran) == 2
