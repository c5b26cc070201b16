from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def algorithm_of(runner: Runner) -> nn.Module:
    """The runner's model without its distributed wrapper."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
