"""Runs that are cut off and go on."""

from unittest import mock

import pytest
from runs import CutOff, PowerCutError, run, search_config


def by_epoch(work, **options):
    """4 epochs of 5 iterations, with random crops; the upper loader has 3 batches, shuffled."""
    cfg = search_config(
        work, **{'train_cfg.max_epochs': 4, 'param_scheduler.student.T_max': 4, **options}
    )
    cfg.custom_hooks[0].pop('baselines')
    cfg.custom_hooks[0].update(
        num_candidates=3,
        single_teachers=False,
        evaluation={'train_cfg.max_epochs': 3, 'param_scheduler.student.T_max': 3},
    )
    return cfg


def cut_off(cfg, at: int, stage: str):
    cfg.custom_hooks.append(dict(type='CutOff'))
    with pytest.raises(PowerCutError), mock.patch.object(CutOff, 'planned', (at, stage)):
        run(cfg)
