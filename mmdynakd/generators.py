"""The global random generators: how they are seeded, read, set, and left as they were."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any, TypedDict

import numpy as np
import torch
from mmengine.runner import set_random_seed


class GeneratorStates(TypedDict):
    """States of the global generators, of types that a weights-only load accepts.

    Examples:
        >>> sorted(GeneratorStates.__annotations__)
        ['cuda', 'numpy', 'python', 'torch']
    """

    python: list[Any]
    numpy: list[Any]
    torch: torch.Tensor
    cuda: list[torch.Tensor]


def seed_everything(seed: int, *place: int) -> None:
    """Seeds Python's, NumPy's and torch's global generators by (seed, place).

    The numbers are hashed together, so no two places share a stream.

    Args:
        seed: of the run, >= 0.
        *place: where in the run, such as the epoch; integers >= 0.

    Examples:
        >>> seed_everything(0, 3)
        >>> first = random.random()
        >>> seed_everything(0, 3)
        >>> random.random() == first
        True
    """
    set_random_seed(int(np.random.SeedSequence([seed, *place]).generate_state(1)[0]))


def generator_states() -> GeneratorStates:
    """Reads the states of the global generators.

    Examples:
        >>> sorted(generator_states())
        ['cuda', 'numpy', 'python', 'torch']
    """
    version, words, gauss = random.getstate()
    twister = np.random.get_state(legacy=False)  # noqa: NPY002 - the generator that others draw from
    return GeneratorStates(
        python=[version, list(words), gauss],
        numpy=[
            twister['bit_generator'],
            twister['state']['key'].tolist(),
            *map(float, (twister['state']['pos'], twister['has_gauss'], twister['gauss'])),
        ],
        torch=torch.get_rng_state(),
        cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    )


def set_generator_states(states: GeneratorStates) -> None:
    """Sets the global generators to the states that :func:`generator_states` gave.

    States of GPUs are left out if this machine has another number of them.

    Examples:
        >>> states = generator_states()
        >>> first = torch.rand(1)
        >>> set_generator_states(states)
        >>> torch.equal(torch.rand(1), first)
        True
    """
    version, words, gauss = states['python']
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = states['numpy']
    np.random.set_state((name, np.array(keys, np.uint32), int(position), int(has_gauss), cached))  # noqa: NPY002
    torch.set_rng_state(states['torch'].cpu())
    if len(states['cuda']) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.cpu() for state in states['cuda']])


@contextlib.contextmanager
def untouched_generators() -> Iterator[None]:
    """Leaves the global generators as it found them.

    Examples:
        >>> states = random.getstate()
        >>> with untouched_generators():
        ...     _ = random.random()
        >>> random.getstate() == states
        True
    """
    states = generator_states()
    try:
        yield
    finally:
        set_generator_states(states)
