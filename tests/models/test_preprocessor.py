"""BatchPreprocessor against MMPretrain's own, on whole batches and on lists of samples."""

import copy

import numpy as np
import pytest
import torch
import toys
from mmengine.dataset import pseudo_collate
from mmpretrain.structures import DataSample

from mmdynakd.functional import crop_flip
from mmdynakd.models.algorithms.batch import labels_of
from mmdynakd.models.algorithms.build import raw_preprocessor
from mmdynakd.models.preprocessor import BatchPreprocessor
from mmdynakd.models.samples import BatchViews, Samples
from mmdynakd.registry import MODELS

NORMALIZATION = dict(mean=[120.0, 115.0, 105.0], std=[60.0, 62.0, 65.0])
MIXUP = dict(augments=dict(type='Mixup', alpha=0.8))
SETTINGS = [
    {},
    NORMALIZATION,
    dict(NORMALIZATION, to_rgb=True),
    dict(NORMALIZATION, pad_size_divisor=6, pad_value=3),
]


def array_batch(n=6, classes=5, crop=True, seed=0):
    """What ``ArrayDataset.__getitems__`` gives."""
    generator = torch.Generator().manual_seed(seed)
    batch = dict(
        inputs=torch.randint(0, 256, (n, 3, 8, 8), generator=generator, dtype=torch.uint8),
        labels=torch.randint(0, classes, (n,), generator=generator),
        views=dict(source='s', size=50, ids=torch.arange(n) + 100),
    )
    if crop:
        batch.update(
            crop=torch.randint(0, 5, (n, 2), generator=generator),
            padding=2,
            flip=torch.randint(0, 2, (n,), generator=generator).bool(),
        )
    return batch


def as_samples(batch, augmented=True):
    """The same as from MMPretrain's loader: augmented on the host, one sample for each image."""
    images = batch['inputs']
    if augmented and 'crop' in batch:
        images = crop_flip(images, batch['crop'], batch['flip'], batch['padding'])
    return dict(
        inputs=list(images),
        data_samples=[DataSample().set_gt_label(int(y)) for y in batch['labels']],
    )


def stock(**settings):
    return MODELS.build(dict(type='mmpretrain.ClsDataPreprocessor', **settings))


@pytest.mark.parametrize('settings', SETTINGS)
@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('crop', [True, False])
def test_a_batch_gives_the_numbers_of_mmpretrains_list(settings, training, crop):
    batch = array_batch(crop=crop)
    kept = copy.deepcopy(batch)
    ours = BatchPreprocessor(**settings)(batch, training)
    theirs = stock(**settings)(as_samples(batch, augmented=training), training)
    assert torch.equal(ours['inputs'], theirs['inputs'])
    assert ours['inputs'].dtype == torch.float32
    samples = ours['data_samples']
    assert isinstance(samples, Samples)
    assert torch.equal(samples.labels, batch['labels'])
    assert [s.gt_label.tolist() for s in samples] == [
        s.gt_label.tolist() for s in theirs['data_samples']
    ]
    assert (samples.views is None) == (
        crop and not training
    )  # a crop not done: other pixels than the view's
    if samples.views is not None:
        assert (samples.views.source, samples.views.size) == ('s', 50)
        assert torch.equal(samples.views.ids, kept['views']['ids'])
    assert all(
        torch.equal(batch[key], kept[key]) for key in kept if key not in ('views', 'padding')
    )


def test_float_batches_are_left_as_they_were():
    batch = array_batch(crop=False)
    batch['inputs'] = batch['inputs'].float()
    kept = batch['inputs'].clone()
    got = BatchPreprocessor(**NORMALIZATION)(batch, True)['inputs']
    assert torch.equal(batch['inputs'], kept)
    assert not torch.equal(got, kept)


@pytest.mark.parametrize(
    'settings', [dict(to_onehot=True, num_classes=5), dict(batch_augments=MIXUP, num_classes=5)]
)
@pytest.mark.parametrize('training', [True, False])
def test_scores_and_batch_augmentations_as_mmpretrain(settings, training):
    batch, results = array_batch(), []
    for preprocessor, data in (
        (BatchPreprocessor(**NORMALIZATION, **settings), batch),
        (stock(**NORMALIZATION, **settings), as_samples(batch, augmented=training)),
    ):
        np.random.seed(3), torch.manual_seed(3)  # noqa: NPY002 - what Mixup draws from
        results.append(preprocessor(data, training))
    ours, theirs = results
    assert torch.equal(ours['inputs'], theirs['inputs'])
    for mine, its in zip(ours['data_samples'], theirs['data_samples'], strict=True):
        assert torch.equal(mine.gt_score, its.gt_score)
        assert torch.equal(mine.gt_label, its.gt_label)
    assert (ours['data_samples'].views is None) == ('batch_augments' in settings or not training)
    assert len({id(sample) for sample in ours['data_samples']}) == 6


# --- samples --------------------------------------------------------------------------------------


def test_training_shares_one_sample_a_class_and_evaluation_none():
    preprocessor, batch = BatchPreprocessor(), array_batch(n=20, classes=3)
    first, second = (
        preprocessor(data, True)['data_samples'] for data in (batch, array_batch(7, 3, seed=1))
    )
    by_label = {}
    for sample in (*first, *second):
        assert by_label.setdefault(int(sample.gt_label), sample) is sample
    fresh = preprocessor(batch, False)['data_samples']
    assert len({id(sample) for sample in fresh}) == 20
    assert not {id(s) for s in fresh} & {id(s) for s in first}


def test_deep_copies_are_independent():
    samples = BatchPreprocessor()(array_batch(n=20, classes=2), True)['data_samples']
    copied = copy.deepcopy(samples)
    assert len({id(sample) for sample in copied}) == 20
    assert torch.equal(copied.labels, samples.labels)
    assert copied.views == samples.views
    copied[0].set_pred_label(1)
    copied[0].gt_label[0] = 77
    assert not any('pred_label' in sample for sample in (*samples, *copied[1:]))
    assert 77 not in [int(sample.gt_label) for sample in (*samples, *copied[1:])]


def test_samples_are_a_sequence():
    items = [DataSample().set_gt_label(i) for i in range(3)]
    samples = Samples(items, torch.arange(3))
    assert not isinstance(samples, (list, tuple))  # DistributedDataParallel builds those anew
    assert list(samples) == items
    assert samples[1] is items[1]
    assert samples[1:] == items[1:]
    assert len(samples) == 3
    assert samples.views is None
    assert 'views of None' in repr(samples)


@pytest.mark.dist
def test_samples_pass_distributed_data_parallel_whole(tmp_path):
    class Spy(torch.nn.Linear):
        def forward(self, x, samples):
            seen.append(samples)
            return super().forward(x)

    seen, samples = [], Samples([DataSample()], torch.zeros(1), BatchViews('s', 1, torch.zeros(1)))
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    try:
        torch.nn.parallel.DistributedDataParallel(Spy(2, 1))(torch.ones(1, 2), samples)
    finally:
        torch.distributed.destroy_process_group()
    assert seen[0] is samples


def test_labels_come_whole():
    samples = Samples([DataSample()], torch.tensor([4]))
    assert labels_of(samples, torch.device('cpu')).tolist() == [4]
    unlabelled = Samples([DataSample().set_gt_label(3)], None)
    assert labels_of(unlabelled, torch.device('cpu')).tolist() == [3]


# --- tagged lists ---------------------------------------------------------------------------------


def tagged(sources=('a',) * 4, sizes=(50,) * 4, views=(101, 3, 77, 2**40)):
    items = []
    for index, (source, size, view) in enumerate(zip(sources, sizes, views)):
        sample = DataSample().set_gt_label(index)
        sample.set_field('x', 'note')
        sample.set_metainfo(
            {
                key: value
                for key, value in dict(view=view, view_source=source, view_size=size).items()
                if value is not None
            }
        )
        items.append(
            dict(inputs=torch.full((3, 4, 4), index, dtype=torch.uint8), data_samples=sample)
        )
    return pseudo_collate(items)


@pytest.mark.parametrize('training', [True, False])
def test_tagged_samples_become_views(training):
    data = tagged()
    out, theirs = (
        BatchPreprocessor(**NORMALIZATION)(data, training),
        stock(**NORMALIZATION)(tagged(), training),
    )
    assert torch.equal(out['inputs'], theirs['inputs'])
    samples = out['data_samples']
    assert list(samples) == data['data_samples']
    assert samples[0].note == 'x'
    assert (samples.views.source, samples.views.size, samples.views.ids.tolist()) == (
        'a',
        50,
        [101, 3, 77, 2**40],
    )
    assert samples.labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    'data',
    [
        toys.made_batch(),
        tagged(sources='aaab'),
        tagged(views=(1, None, 2, 3)),
        tagged(views=(None, 1, 2, 3)),
        tagged(sizes=(50, 50, 50, 49)),
        tagged(sources=(None,) * 4),
        dict(inputs=[torch.zeros(3, 4, 4)]),
    ],
)
def test_other_batches_are_mmpretrains_alone(data):
    out, theirs = BatchPreprocessor()(copy.deepcopy(data), True), stock()(copy.deepcopy(data), True)
    assert torch.equal(out['inputs'], theirs['inputs'])
    assert (
        type(out['data_samples']) is type(theirs['data_samples']) is type(data.get('data_samples'))
    )


def test_mixed_images_are_no_views():
    out = BatchPreprocessor(batch_augments=MIXUP, num_classes=4)(tagged(), True)['data_samples']
    assert isinstance(out, list)
    assert (
        BatchPreprocessor(batch_augments=MIXUP, num_classes=4)(tagged(), False)[
            'data_samples'
        ].views
        is not None
    )


def test_samples_with_several_labels_have_views_and_no_labels():
    data = tagged()
    data['data_samples'][2].set_gt_label([1, 2])
    samples = BatchPreprocessor()(data, True)['data_samples']
    assert samples.labels is None
    assert samples.views is not None


# --- in models ------------------------------------------------------------------------------------


def test_dynakds_batches():
    model = toys.built(
        toys.dynakd_cfg(
            data_preprocessor=dict(toys.PREPROCESSOR, batch_augments=MIXUP, num_classes=5)
        )
    )
    assert type(model.data_preprocessor) is BatchPreprocessor
    assert model.data_preprocessor.batch_augments is not None
    assert not model.data_preprocessor._enable_normalize
    assert type(raw_preprocessor(None, None, {})) is BatchPreprocessor


def test_dynakds_losses_are_those_of_the_list():
    batch = array_batch()
    losses = []
    for data in (batch, as_samples(batch)):
        model = toys.built(toys.dynakd_cfg(teachers=2))
        data = model.data_preprocessor(data, training=True)
        losses.append(model.loss(data['inputs'], data['data_samples']))
    assert losses[0].keys() == losses[1].keys()
    assert len(losses[0]) > 1
    assert all(torch.equal(losses[0][key], losses[1][key]) for key in losses[0])


def test_a_plain_classifier_trains_and_predicts():
    cfg = dict(
        toys.student_cfg(), data_preprocessor=dict(NORMALIZATION, type='mmdynakd.BatchPreprocessor')
    )
    model, batch = toys.built(cfg), array_batch(n=20, classes=2, crop=False)
    data = model.data_preprocessor(batch, True)
    model(**data, mode='loss')['loss'].backward()
    predicted = model.val_step(batch)
    single = [
        model.val_step(
            {'inputs': batch['inputs'][i : i + 1], 'labels': batch['labels'][i : i + 1]}
        )[0]
        for i in range(20)
    ]
    for together, alone, label in zip(predicted, single, batch['labels'], strict=True):
        torch.testing.assert_close(together.pred_score, alone.pred_score)
        assert together.gt_label.item() == label
    assert (
        len({tuple(sample.pred_score.tolist()) for sample in predicted}) > 10
    )  # no one's answer is another's
    assert not any(
        'pred_score' in sample for sample in model.data_preprocessor(batch, True)['data_samples']
    )
