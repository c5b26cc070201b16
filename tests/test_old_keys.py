"""``distribution`` and ``relaxation``, as ``selection`` and ``mix`` were called, still work."""

import pytest
import torch
from mmengine.config import ConfigDict
from toys import bilevel, built, differing, dynakd_cfg, made_batch, snapshot

from mmdynakd import old_keys
from mmdynakd.models.selections import LabelsOnly
from mmdynakd.old_keys import new_keys, takes_old_keys

LANES = dict(
    average=dict(selection=dict(type='mmdynakd.Average'), mix='losses'),
    uniform=dict(selection=dict(probs='uniform')),
    ce=dict(selection=None),
    own={},
)


@pytest.fixture
def said(monkeypatch):
    texts = []
    monkeypatch.setattr(old_keys, 'print_log', lambda text, *_: texts.append(text))
    return texts


def old(settings: dict) -> dict:
    names = {new: name for name, new in old_keys.RENAMED.items()}
    return {names.get(key, key): value for key, value in settings.items()}


def trained(**options) -> dict[str, torch.Tensor]:
    model = built(dynakd_cfg(3, **options))
    optim = bilevel(model)
    for step in range(3):
        model.train_step(made_batch(seed=step), optim)
    return snapshot(model)


@pytest.mark.parametrize('model', [{}, dict(selection=dict(probs=[0.2, 0.3, 0.5]), mix='losses')])
def test_a_config_of_old_keys_trains_the_same_students_and_says_the_new_ones(said, model):
    new = trained(**model, lanes=LANES)
    assert said == []
    lanes = {name: old(settings) for name, settings in LANES.items()}
    assert differing(trained(**old(model), lanes=lanes), new) == []
    renamed = [text for text in said if text.startswith('lanes.')]
    assert len(renamed) == 4
    assert "lanes.average: the key 'relaxation' is called 'mix' now" in renamed[1]
    assert len(said) == len(renamed) + len(model)


def test_without_old_keys_nothing_is_said_or_changed(said):
    settings = ConfigDict(selection=dict(probs='t0'), mix='losses', student_loss_weight=1.0)
    assert new_keys(settings) == settings
    assert said == []


def test_the_order_of_keys_and_what_was_given_stay(said):
    given = dict(teachers=['t0'], distribution={}, mix='losses')
    assert list(new_keys(given)) == ['teachers', 'selection', 'mix']
    assert 'distribution' in given


@pytest.mark.parametrize('both', [dict(distribution={}, selection={}), dict(relaxation=1, mix=2)])
@pytest.mark.parametrize('where', ['model', 'lane'])
def test_both_names_at_once_are_an_error(both, where):
    first, second = both
    place = 'model' if where == 'model' else 'lanes.a'
    options = both if where == 'model' else dict(lanes=dict(a=both))
    with pytest.raises(ValueError, match=rf"{place} has both '{first}' and '{second}': remove"):
        built(dynakd_cfg(2, **options))


def test_none_is_labels_only_but_was_a_learned_theta_in_the_models_old_key(said):
    model = built(dynakd_cfg(2, selection=None))
    assert isinstance(model.lanes['search'].selection, LabelsOnly)
    assert model.lanes['search'].student_loss_weight == 1.0
    assert list(built(dynakd_cfg(2, distribution=None)).searched) == ['search']


def test_an_unknown_key_is_the_constructors_own_error():
    @takes_old_keys
    def build(mix):
        return mix

    with pytest.raises(TypeError, match="unexpected keyword argument 'mixed'"):
        build(mixed=1)


@pytest.mark.parametrize('value', ['uniform', 3, ['t0']])
def test_a_selection_that_is_no_dict_is_an_error(value):
    with pytest.raises(ValueError, match=r'lanes\.a\.selection must be None .* or a dict'):
        built(dynakd_cfg(2, lanes=dict(a=dict(selection=value))))
