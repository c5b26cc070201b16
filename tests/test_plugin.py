"""The five walks of CONTRIBUTING.md, done with the blocks of that page in a package of its own."""

import importlib
import re
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from runs import CHECKOUT, network, quick, read, search_config
from toys import bilevel, made_batch

from mmdynakd.cli.main import main
from mmdynakd.errors import UserError
from mmdynakd.evaluation.executors.request import Request, make_executor
from mmdynakd.functional import Draws
from mmdynakd.launch.config import load_config
from mmdynakd.launch.run import train
from mmdynakd.models.teachers.checkpoints.loading import load_checkpoint_into
from mmdynakd.registry import CHECKPOINT_LAYOUTS, EXECUTORS, MODELS

BLOCK = re.compile(r'^```python\n# (\S+\.py)\n(.*?)^```$', re.M | re.S)
FILES = ['__init__', 'backbone', 'executor', 'layout', 'loss', 'selection']
REGISTRIES = [MODELS, CHECKPOINT_LAYOUTS, EXECUTORS]


def slashed(state: dict[str, torch.Tensor]) -> dict:
    """A checkpoint in the plugin's layout."""
    return dict(net={key.replace('.', '/'): value for key, value in state.items()})


@pytest.fixture(scope='module')
def plugin(tmp_path_factory):
    """A folder with the files of the page; what they register is gone afterwards."""
    folder = tmp_path_factory.mktemp('plugin')
    for name, code in BLOCK.findall((CHECKOUT / 'CONTRIBUTING.md').read_text(encoding='utf-8')):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code, encoding='utf-8')
    (folder / 'configs').symlink_to(CHECKOUT / 'configs')
    torch.save(slashed(network(seed=2).state_dict()), folder / 'resnet8_slashes.pth')
    before = [dict(registry.module_dict) for registry in REGISTRIES]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        patch.setenv('PYTHONPATH', f'{folder}:{CHECKOUT}')
        importlib.import_module('my_plugin')
        yield folder
    for registry, entries in zip(REGISTRIES, before):
        registry.module_dict.clear()
        registry.module_dict.update(entries)
    for name in [name for name in sys.modules if name.split('.')[0] == 'my_plugin']:
        del sys.modules[name]


@pytest.fixture(scope='module')
def cfg(plugin) -> Config:
    """The page's config, with teachers and data as small as in other tests."""
    cfg = load_config('my_config.py')
    small = search_config(plugin / 'work')
    for name, entry in zip(['resnet20', 'resnet14'], small.model.teachers.values()):
        cfg.model.teachers[name] = entry
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader', 'train_cfg', 'work_dir'):
        cfg[key] = small[key]
    return cfg


def test_the_page_shows_five_files_and_a_line_of_import_each(plugin):
    assert sorted(path.stem for path in (plugin / 'my_plugin').glob('*.py')) == FILES
    lines = (plugin / 'my_plugin' / '__init__.py').read_text().splitlines()
    assert sorted(lines) == [f'from . import {name}' for name in FILES[1:]]


def test_a_step_with_the_backbone_the_loss_and_the_selection(cfg):
    init_default_scope(cfg.default_scope)
    lanes = dict(learned={}, in_turn=cfg.baselines.in_turn)
    model = MODELS.build({**cfg.model, 'lanes': lanes}).train()
    model.init_weights()
    student = model.lanes['in_turn'].student
    assert type(student.backbone).__name__ == 'TinyNet'
    before = student.backbone.conv1.weight.detach().clone()
    data, wrapper = made_batch(classes=10), bilevel(model)
    log = model.train_step(data, wrapper)
    assert not torch.equal(student.backbone.conv1.weight, before)
    assert log['in_turn/loss_kl'] > 0
    taught = [list(model.lanes['in_turn'].selection.choose(Draws(0, t)).weights) for t in range(4)]
    assert taught == [['resnet20'], ['resnet14'], ['resnet8'], ['resnet20']]


def test_a_teacher_in_the_new_layout(plugin):
    model, wanted = network(seed=1), network(seed=2).state_dict()
    assert load_checkpoint_into(model, 'resnet8_slashes.pth', name='resnet8') == 'slashes'
    assert all(torch.equal(value, wanted[key]) for key, value in model.state_dict().items())
    with pytest.raises(UserError, match='is of another architecture than the model'):
        load_checkpoint_into(network(depth=14), 'resnet8_slashes.pth', name='resnet14')
    torch.save(dict(model=wanted), 'known.pth')
    assert load_checkpoint_into(model, 'known.pth', name='resnet8') == 'model/mmpretrain'


def test_an_executor_is_found_by_name(plugin):
    executor = make_executor(Request(str(plugin), executor='one_by_one'))
    assert type(executor).__name__ == 'OneByOne'
    with pytest.raises(
        UserError, match=r"'one_by_on' \(did you mean 'one_by_one'\?\); known: local"
    ):
        make_executor(Request(str(plugin), executor='one_by_on'))


@pytest.mark.slow
def test_a_search_and_its_evaluation_on_the_new_executor(cfg, plugin, capsys):
    """In processes of their own, which import the plugin because the config says so."""
    with quick():
        train(cfg)
    main(['evaluate', cfg.work_dir, '--executor', 'one_by_one'])
    assert '2 of 2 finished' in capsys.readouterr().out
    results = read(Path(cfg.work_dir), 'results.json')
    assert [row['name'] for row in results['lanes']] == ['cat1', 'in_turn']
    assert results['lanes'][1]['selection'] == 'InTurn'
    (log,) = Path(cfg.work_dir, 'runs', 'in_turn-seed0').glob('log.txt')
    assert 'resnet8_slashes.pth (slashes layout)' in log.read_text()
