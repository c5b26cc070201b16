"""Metrics that wait: the log is MMEngine's, number by number."""

import json

import pytest
import torch
from mmengine.logging import MessageHub
from runs import PowerCutError, run, search_config

from mmdynakd.engine.hooks import RuntimeInfoHook


def search(work, interval, **options):
    cfg = search_config(work, **{'train_cfg.max_epochs': 3, **options})
    if interval:
        cfg.default_hooks.runtime_info = dict(type='mmdynakd.RuntimeInfoHook', interval=interval)
    cfg.default_hooks.logger.interval = 2
    cfg.custom_hooks[0].update(interval=3)
    cfg.custom_hooks[0].evaluation = dict(
        train_cfg=dict(max_epochs=1), param_scheduler=dict(student=dict(T_max=1))
    )
    return cfg


def scalars(work):
    (path,) = work.glob('2*/vis_data/scalars.json')
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        {k: v for k, v in line.items() if k not in ('time', 'data_time', 'memory')}
        for line in lines
    ]


def history(runner):
    return {
        key: value.data
        for key, value in runner.message_hub.log_scalars.items()
        if 'time' not in key
    }


@pytest.fixture(scope='module')
def usual(tmp_path_factory):
    work = tmp_path_factory.mktemp('usual') / 'run'
    return work, run(search(work, None))


@pytest.mark.parametrize('interval', [7, 10])
def test_the_log_and_theta_are_the_same(tmp_path, usual, interval):
    work, runner = usual
    mine = tmp_path / 'run'
    other = run(search(mine, interval))
    assert scalars(mine) == scalars(work)
    assert len(scalars(mine)) > 6
    assert any('search/upper_loss' in line for line in scalars(mine))
    first, second = history(runner), history(other)
    assert first.keys() == second.keys()
    for key, (values, counts) in first.items():
        assert (second[key][0] == values).all()
        assert (second[key][1] == counts).all()
    assert (mine / 'theta.csv').read_text() == (work / 'theta.csv').read_text()


def test_a_device_is_asked_once_an_interval(tmp_path, monkeypatch):
    asked, update = [], MessageHub.update_scalar

    def counted(self, key, value, *args, **kwargs):
        asked.append(isinstance(value, torch.Tensor))
        return update(self, key, value, *args, **kwargs)

    stacks, stack = [], torch.stack
    monkeypatch.setattr(MessageHub, 'update_scalar', counted)
    cfg = search(tmp_path / 'run', 10)
    cfg.custom_hooks, cfg.default_hooks.logger.interval = [], 50
    flush = RuntimeInfoHook.flush
    monkeypatch.setattr(
        RuntimeInfoHook, 'flush', lambda self, runner: (stacks.append(1), flush(self, runner))[1]
    )
    run(cfg)
    assert stack is torch.stack
    assert asked
    assert not any(asked)
    assert len(stacks) == 3  # an epoch of 5 iterations each; once more at 10, which ends the second


def test_a_checkpoint_holds_the_metrics_up_to_its_iteration(tmp_path):
    cfg = search(
        tmp_path / 'run',
        10,
        **{'default_hooks.checkpoint.by_epoch': False, 'default_hooks.checkpoint.interval': 3},
    )
    cfg.default_hooks.logger.interval = 50
    cfg.custom_hooks = [dict(type='CutOff', at=4, stage='run')]
    with pytest.raises(PowerCutError):
        run(cfg)
    path = tmp_path / 'run' / 'iter_3.pth'
    checkpoint = torch.load(path, weights_only=False)
    losses = checkpoint['message_hub']['log_scalars']['train/search/loss']
    assert len(losses.data[0]) == 3


def test_an_interval_below_one_is_an_error():
    with pytest.raises(ValueError, match='interval and history must be >= 1'):
        RuntimeInfoHook(interval=0)


def test_histories_keep_their_last_values_alone(tmp_path):
    cfg = search_config(tmp_path / 'work')
    cfg.default_hooks.runtime_info = dict(type='mmdynakd.RuntimeInfoHook', interval=1, history=3)
    cfg.custom_hooks = []
    scalars = run(cfg).message_hub.log_scalars
    assert 'train/search/loss' in scalars
    assert {
        name: len(buffer.data[0]) for name, buffer in scalars.items() if name.startswith('train/')
    } == dict.fromkeys([name for name in scalars if name.startswith('train/')], 3)
