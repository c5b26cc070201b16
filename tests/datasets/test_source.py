"""What is asked of a data set that others wrap, and how its channels are ordered."""

import pytest
from mmengine.registry import DefaultScope

from mmdynakd.datasets import CIFAR100, Digits
from mmdynakd.datasets.source import as_image_files, built
from mmdynakd.registry import DATASETS

BGR = {'channel_order': 'bgr'}


class Mine(CIFAR100):
    """A user's data set that is CIFAR's in all but its name."""


@pytest.fixture
def mine():
    DATASETS.register_module(module=Mine)
    yield 'mmdynakd.Mine'
    DATASETS.module_dict.pop('Mine')


def test_a_config_is_built_and_a_data_set_passed_on():
    data = built(dict(type='mmdynakd.Digits', split='val'))
    assert isinstance(data, Digits)
    assert built(data) is data


@pytest.mark.parametrize(
    ('config', 'changes'),
    [
        (dict(type='mmdynakd.CIFAR100'), BGR),
        (dict(type=CIFAR100), BGR),
        (dict(type='mmdynakd.CIFAR100', channel_order='rgb'), BGR),
        (dict(type='mmdynakd.CIFAR100', channel_order='bgr'), {}),
        (dict(type='CIFAR100'), {}),  # MMPretrain's own
        (dict(type='mmpretrain.CIFAR100'), {}),
        (dict(type='mmdynakd.Digits'), {}),
        (dict(type='nobody.knows'), {}),
        ({}, {}),
    ],
)
def test_the_order_of_channels_is_asked_of_the_class(config, changes):
    kept = dict(config)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        assert as_image_files(config) == changes
    assert config == kept


def test_a_derived_data_set_inherits_the_order(mine):
    assert as_image_files(dict(type=mine)) == BGR
