"""What one needs to repeat a run."""

from collections.abc import Mapping
from typing import Any

from .base import Value
from .fields import Count, Names, OptionalCount, OptionalText, Text


class RunFacts(Value, frozen=True, kw_only=True):
    """What one needs to repeat a run.

    Attributes:
        teachers: names, in the order of θ.
        seed: of the run.
        draw_seed: of the uniform numbers that draw teachers; None where an old file does not say,
            as for the fields below.
        epochs: of training.
        iterations: of training, over all epochs.
        processes: that shared each batch.
        device: name of the GPU, or ``CPU (x86_64)``.
        config: path of the config file; None for a config made in Python.
        config_sha256: of the config without names, folders and resuming.
        versions: ``{package: version}``, of this package, Python and the libraries.

    Examples:
        >>> facts = RunFacts(
        ...     teachers=('a', 'b'), seed=0, epochs=240, device='CPU (x86_64)', versions={}
        ... )
        >>> facts.epochs
        240
    """

    teachers: Names
    seed: Count
    draw_seed: OptionalCount = None
    epochs: Count
    iterations: OptionalCount = None
    processes: OptionalCount = None
    device: Text
    config: OptionalText = None
    config_sha256: OptionalText = None
    versions: Mapping[str, Any]
