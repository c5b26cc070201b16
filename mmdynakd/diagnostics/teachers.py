"""From a config to the report on its teachers."""

from collections.abc import Callable, Mapping, Sequence

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

from mmdynakd.models.algorithms.build import in_order, raw_preprocessor, with_preprocessor
from mmdynakd.models.teachers import TeacherEnsemble

from .accuracy import check_teachers
from .predictions import collect, multiply_adds, parameters


def run_check(
    cfg: Config,
    splits: Sequence[str] | None = None,
    progress: Callable[[str, int], Callable[[int], None]] | None = None,
) -> dict:
    """Runs the teachers of a config on its validation split, and on test for comparison.

    Args:
        cfg: config of a DynaKD run.
        splits: ``'val'`` and ``'test'``; val is run always, test too if this is None and there is a
            loader for it.
        progress: ``progress(split, batches)`` gives what is called with the number of batches done.

    Returns:
        See :func:`check_teachers`.

    Raises:
        ValueError: a config without ``model.teachers`` or without the loader of a split; see also
            the ensemble.
    """
    _check(cfg, splits)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    ensemble, preprocessor = build_teachers(cfg)
    wanted = ['val'] + (
        ['test'] if (cfg.get('test_dataloader') if splits is None else 'test' in splits) else []
    )
    loaders = {
        split: Runner.build_dataloader(cfg[f'{split}_dataloader'], seed=0) for split in wanted
    }
    image = preprocessor(next(iter(loaders['val'])), training=False)['inputs'][:1]
    found = {
        split: collect(ensemble, loader, preprocessor, progress and progress(split, len(loader)))
        for split, loader in loaders.items()
    }
    return check_teachers(
        found['val'], found.get('test'), _facts(cfg.model.teachers, ensemble, image)
    )


def build_teachers(cfg: Config) -> tuple[TeacherEnsemble, nn.Module]:
    """The ensemble as DynaKD builds it, on the device at hand, and what stacks raw batches for it."""
    model, device = cfg.model, torch.device(get_device())
    shared = model.get('data_preprocessor') or cfg.get('data_preprocessor')
    architecture, own = with_preprocessor(model.architecture, shared)
    ensemble = TeacherEnsemble(in_order(model.teachers, model.get('teacher_order')), own)
    ensemble._apply(lambda tensor: tensor.to(device))
    ensemble.set_device(device)
    return ensemble, raw_preprocessor(shared, own, architecture).to(device)


def _check(cfg: Config, splits: Sequence[str] | None) -> None:
    model = cfg.get('model') or {}
    if not model.get('teachers') or 'architecture' not in model:
        raise ValueError(
            f'{cfg.filename}: no model.teachers and model.architecture; give the config of a '
            'DynaKD run'
        )
    for split in {'val', *(splits or ())}:
        if not cfg.get(f'{split}_dataloader'):
            raise ValueError(f'{cfg.filename}: no {split}_dataloader to check the teachers on')


def _facts(
    entries: Mapping[str, Mapping], ensemble: TeacherEnsemble, image: torch.Tensor
) -> dict[str, dict]:
    return {
        name: dict(
            parameters=parameters(network),
            multiply_adds=multiply_adds(network, image),
            published=entries[name].get('accuracy'),
        )
        for name, network in ensemble.networks.items()
    }
