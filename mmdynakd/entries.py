"""The entries of the optimizer: one a lane, named after it, and one a θ that is learned."""

import copy
from collections.abc import Mapping

from torch import nn

from mmdynakd.names import unknown_names

THETA = '.theta'


def expand_schedulers(schedulers, algorithm: nn.Module):
    """``dict(student=…, theta=…)``, or a list for the students alone, to one list an optimizer
    entry.

    Raises:
        ValueError: for another key.
    """
    if schedulers is None:
        return None
    if not isinstance(schedulers, Mapping) or 'type' in schedulers:
        schedulers = dict(student=schedulers)
    unknown = unknown_names(schedulers, ('student', 'theta'))
    if unknown:
        raise ValueError(f"param_scheduler takes the keys 'student' and 'theta', not {unknown}")
    entries = {name: schedulers.get('student', []) for name in algorithm.lanes}
    entries.update({name + THETA: schedulers.get('theta', []) for name in algorithm.searched})
    return {name: copy.deepcopy(value) for name, value in entries.items()}
