"""From a config to the report on its teachers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

from mmdynakd.models.algorithms.build import in_order, raw_preprocessor, with_preprocessor
from mmdynakd.models.teachers import TeacherEnsemble
from mmdynakd.values import TeacherReport

from .accuracy import TeacherFacts, check_teachers
from .predictions import collect, multiply_adds, parameters


def run_check(
    cfg: Config,
    splits: Sequence[str] | None = None,
    progress: Callable[[str, int], Callable[[int], None]] | None = None,
) -> TeacherReport:
    """Runs the teachers of a config on its validation split, and on test for comparison.

    Args:
        cfg: config of a DynaKD run.
        splits: ``'val'`` and ``'test'``. Val is always run; with None, so is test if the config has
            a loader for it.
        progress: called as ``progress(split, batches)``; what it returns is called with the number
            of batches done.

    Returns:
        See :func:`mmdynakd.diagnostics.accuracy.check_teachers`.

    Raises:
        ValueError: the config has no ``model.teachers``, or no loader of a split.
        CheckpointError: the checkpoint of a teacher cannot be used.

    Examples:
        >>> empty = Config(dict(), cfg_text=' ', filename='mine.py')
        >>> run_check(empty)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: mine.py: no model.teachers and model.architecture; give the config of ...
    """
    _check(cfg, splits)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    ensemble, preprocessor = build_teachers(cfg)
    with_test = cfg.get('test_dataloader') if splits is None else 'test' in splits
    wanted = ['val', 'test'] if with_test else ['val']
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
    """Builds the ensemble as DynaKD does, on the device at hand, and what stacks batches for it.

    Args:
        cfg: config of a DynaKD run.

    Returns:
        The ensemble, and the preprocessor that stacks the raw pixels of a batch.

    Raises:
        ValueError: an entry of ``model.teachers`` is wrong.
        CheckpointError: the checkpoint of a teacher cannot be used.

    Examples:
        >>> from mmengine.registry import init_default_scope
        >>> init_default_scope('mmpretrain')
        >>> from mmpretrain.models import ImageClassifier
        >>> network = ImageClassifier(dict(type='mmpretrain.LeNet5', num_classes=10))
        >>> model = dict(architecture=network, teachers=dict(lenet=dict(model=network)))
        >>> ensemble, preprocessor = build_teachers(Config(dict(model=model)))
        >>> ensemble.names
        ['lenet']
    """
    model, device = cfg.model, torch.device(get_device())
    shared = model.get('data_preprocessor') or cfg.get('data_preprocessor')
    architecture, own = with_preprocessor(model.architecture, shared)
    ensemble = TeacherEnsemble(in_order(model.teachers, model.get('teacher_order')), own)
    ensemble.apply(lambda tensor: tensor.to(device))
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
    entries: Mapping[str, Mapping[str, Any]], ensemble: TeacherEnsemble, image: torch.Tensor
) -> dict[str, TeacherFacts]:
    return {
        name: TeacherFacts(
            parameters=parameters(network),
            multiply_adds=multiply_adds(network, image),
            published=entries[name].get('accuracy'),
        )
        for name, network in ensemble.networks.items()
    }
