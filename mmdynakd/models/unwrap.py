"""From a Runner to the algorithm that it trains."""

from typing import TYPE_CHECKING

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

if TYPE_CHECKING:
    from .algorithms import DynaKD


def algorithm_of(runner: Runner) -> 'DynaKD':
    """Return the runner's model without its distributed wrapper.

    Args:
        runner: A Runner whose model is :class:`~mmdynakd.models.DynaKD`, wrapped or not.

    Returns:
        The algorithm itself.

    Examples:
        >>> from types import SimpleNamespace
        >>> from torch import nn
        >>> algorithm_of(SimpleNamespace(model=nn.Linear(2, 3)))
        Linear(in_features=2, out_features=3, bias=True)
    """
    model = runner.model
    algorithm: DynaKD = model.module if is_model_wrapper(model) else model
    return algorithm
