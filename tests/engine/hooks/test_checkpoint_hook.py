"""What mmdynakd's CheckpointHook saves beside MMEngine's; test_kills.py shows what survives."""

import uuid
from unittest import mock

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from runs import search_config
from yapf.yapflib import yapf_api


def layouts(cfg) -> tuple[int, Runner]:
    """How often a search lays out a config's text."""
    cfg.custom_hooks[0].update(evaluate=False)
    cfg.experiment_name = uuid.uuid4().hex
    with mock.patch.object(yapf_api, 'FormatTree', wraps=yapf_api.FormatTree) as laid_out:
        runner = Runner.from_cfg(cfg)
        runner.train()
    return laid_out.call_count, runner


@pytest.mark.slow
def test_the_config_is_not_laid_out_anew_for_each_checkpoint(tmp_path):
    once, runner = layouts(search_config(tmp_path / 'one', **{'train_cfg.max_epochs': 1}))
    assert once > 0  # at the start, for the log and the dump
    assert layouts(search_config(tmp_path / 'three', **{'train_cfg.max_epochs': 3}))[0] == once
    saved = torch.load(tmp_path / 'one' / 'epoch_1.pth', weights_only=False)['meta']['cfg']
    assert Config.fromstring(saved, '.py').to_dict() == runner.cfg.to_dict()
    assert runner.cfg.pretty_text != saved  # who asks otherwise gets it laid out
