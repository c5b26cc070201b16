"""From a Runner to the algorithm that it trains, and to what that learns."""

from typing import TYPE_CHECKING, Any

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

if TYPE_CHECKING:
    from .algorithms import DynaKD
    from .selections import CategoricalDistribution


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


def searched_selections(algorithm: 'DynaKD') -> dict[str, 'CategoricalDistribution']:
    """Return the selections whose θ is learned, by lane.

    Examples:
        >>> from mmdynakd.models.toy import toy_dynakd
        >>> list(searched_selections(toy_dynakd()))
        ['search']
    """
    lanes: dict[str, Any] = dict(algorithm.searched)
    return {name: lane.selection for name, lane in lanes.items()}
