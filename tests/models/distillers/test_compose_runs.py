"""Configs of configs/compose that need a Runner: CRD's data, and both stages of FT."""

import torch
from mmengine.config import Config
from runs import CHECKOUT, run, weights


def small(name: str, work_dir) -> Config:
    """The shipped config on digits (8x8): 32 to train, 16 others, one epoch; untrained teachers."""
    cfg = Config.fromfile(CHECKOUT / 'configs' / 'compose' / f'{name}.py')
    for teacher in cfg.model.teachers.values():
        teacher.checkpoint = None
    for split, loader in (
        ('train', cfg.train_dataloader),
        ('val', cfg.train_cfg.upper_dataloader),
        ('val', cfg.val_dataloader),
        ('test', cfg.test_dataloader),
    ):
        loader.batch_size = 16
        wrapper = loader.dataset if 'dataset' in loader.dataset else loader
        wrapper.dataset = dict(
            type='mmdynakd.Digits',
            split=split,
            channels=3,
            pipeline=[dict(type='PackInputs')],
            indices=32 if split == 'train' else 16,
        )
    cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = cfg.optim_wrapper.upper_interval = 1
    cfg.custom_hooks = []  # what evaluates candidates has tests of its own
    cfg.merge_from_dict(dict(work_dir=str(work_dir), log_level='ERROR'))
    return cfg


def test_crd_searches_with_rows_of_its_own_for_val(tmp_path):
    cfg = small('crd_r20_cifar100', tmp_path / 'work')
    assert cfg.train_dataloader.dataset.type == cfg.train_cfg.upper_dataloader.dataset.type
    assert (
        cfg.train_dataloader.dataset.first_row,
        cfg.train_cfg.upper_dataloader.dataset.first_row,
    ) == (0, 45000)
    for dataset, first_row in (
        (cfg.train_dataloader.dataset, 0),
        (cfg.train_cfg.upper_dataloader.dataset, 32),
    ):
        dataset.update(num_negatives=6, first_row=first_row)
    for distiller in cfg.model.distiller.values():
        distiller.distill_losses.loss_crd.update(neg_num=6, sample_n=48)
    cfg.default_hooks.checkpoint.interval = 1
    run(cfg)
    banks = {
        key: value
        for key, value in weights(tmp_path / 'work' / 'epoch_1.pth').items()
        if 'memory_v2' in key
    }
    assert len(banks) == 3  # one a teacher
    assert all(seen(bank[32:]) == 16 for bank in banks.values())  # all teachers see val
    assert (
        sum(seen(bank[:32]) for bank in banks.values()) == 32
    )  # the drawn teacher alone its batch of train


def seen(rows: torch.Tensor) -> int:
    """Rows of a memory bank that took a feature up: they are of unit length then."""
    return int((rows.norm(dim=1) - 1).abs().lt(1e-5).sum())


def test_ft_takes_up_the_paraphrasers_of_its_first_stage(tmp_path, monkeypatch):
    """By the path that the second config names, from the folder where both commands are run."""
    monkeypatch.chdir(tmp_path)
    first = Config.fromfile(CHECKOUT / 'configs' / 'compose' / 'ft_paraphrasers_cifar100.py')
    path = f'work_dirs/ft_paraphrasers_cifar100/epoch_{first.train_cfg.max_epochs}.pth'
    second = small('ft_r20_cifar100', 'work_dirs/ft_r20_cifar100')
    for distiller in second.model.distiller.values():
        assert distiller.connectors.paraphraser.init_cfg.checkpoint == path
        distiller.connectors.paraphraser.init_cfg.checkpoint = path.replace('epoch_10', 'epoch_1')
    run(small('ft_paraphrasers_cifar100', 'work_dirs/ft_paraphrasers_cifar100'))
    run(second)
    trained = weights(tmp_path / path.replace('epoch_10', 'epoch_1'))
    used = weights(tmp_path / 'work_dirs/ft_r20_cifar100/epoch_1.pth')
    for teacher in ('resnet8x4', 'resnet32', 'resnet14'):
        key = f'distiller.distillers.{teacher}.connectors.paraphraser.encoder.0.weight'
        assert torch.equal(
            trained[f'lanes.all.{key}'], used[f'lanes.search.{key}']
        )  # frozen in the second stage
