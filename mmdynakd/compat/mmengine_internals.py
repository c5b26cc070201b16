"""Private names of MMEngine, each behind a small function, because there is no public way."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import ImgDataPreprocessor
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn


def randomness_of(runner: Runner) -> Mapping[str, Any]:
    """The ``randomness`` that a Runner was given: ``seed``, ``diff_rank_seed``, ``deterministic``.

    ``runner.seed`` is public, but does not say whether it was given or drawn from the clock.

    Examples:
        >>> import tempfile
        >>> runner = Runner(nn.Linear(1, 1), tempfile.mkdtemp(), log_level='ERROR',
        ...                 randomness=dict(seed=3))
        >>> randomness_of(runner)['seed']
        3
        >>> resumes(runner)
        False
    """
    given: Mapping[str, Any] = runner._randomness_cfg
    return given


def resumes(runner: Runner) -> bool:
    """Whether a Runner goes on from a checkpoint, rather than starting from its weights.

    Examples:
        See :func:`randomness_of`.
    """
    return bool(runner._resume)


def count_backward(entry: OptimWrapper) -> None:
    """Count a backward pass, as ``entry.backward`` does, for one that was made without it.

    Examples:
        >>> entry = OptimWrapper(torch.optim.SGD([torch.zeros(1)], lr=1), accumulative_counts=2)
        >>> count_backward(entry)
        >>> entry.should_update()
        False
        >>> count_backward(entry)
        >>> entry.should_update()
        True
    """
    entry._inner_count += 1


@contextmanager
def unformatted(cfg: Config) -> Iterator[None]:
    """Within it ``cfg.pretty_text`` is not laid out by yapf: a second for a large config.

    Examples:
        >>> with unformatted(Config(dict(lr=0.1))):
        ...     pass
    """
    before = cfg._format_python_code
    # Config's own __setattr__ would make it a key of the config
    object.__setattr__(cfg, '_format_python_code', False)
    try:
        yield
    finally:
        object.__setattr__(cfg, '_format_python_code', before)


def set_device(module: nn.Module, device: torch.device) -> None:
    """Tell the preprocessors inside a model where their inputs go; without effect on other modules.

    Examples:
        >>> from mmengine.model import BaseModel
        >>> class Model(BaseModel):
        ...     forward = None
        >>> model = Model()
        >>> set_device(model, torch.device('meta'))
        >>> model.data_preprocessor.device
        device(type='meta')
    """
    if hasattr(module, '_set_device'):
        module._set_device(device)  # type: ignore[operator]  # torch: any attribute may be a Tensor


def normalizes(preprocessor: ImgDataPreprocessor) -> bool:
    """Whether an image preprocessor subtracts a mean and divides by a standard deviation.

    Examples:
        >>> normalizes(ImgDataPreprocessor(mean=[0, 0, 0], std=[1, 1, 1]))
        True
        >>> normalizes(ImgDataPreprocessor())
        False
    """
    return bool(preprocessor._enable_normalize)


def count_epoch(loop: EpochBasedTrainLoop) -> None:
    """Count an epoch that has been run, as the loop's own ``run_epoch`` does at its end.

    Examples:
        >>> loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
        >>> loop._epoch = 0
        >>> count_epoch(loop)
        >>> loop.epoch
        1
    """
    loop._epoch += 1


def choose_val_interval(loop: IterBasedTrainLoop) -> None:
    """Set ``loop.val_interval`` to what ``dynamic_intervals`` says for the iteration at hand.

    Examples:
        >>> loop = IterBasedTrainLoop.__new__(IterBasedTrainLoop)
        >>> loop.dynamic_milestones, loop.dynamic_intervals, loop._iter = [0, 10], [5, 1], 20
        >>> choose_val_interval(loop)
        >>> loop.val_interval
        1
    """
    loop._decide_current_val_interval()
