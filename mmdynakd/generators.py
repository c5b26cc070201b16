"""The global random generators: seeded by place, their states, left as they were."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.runner import set_random_seed


def seed_everything(seed: int, *place: int) -> None:
    """Seeds Python's, NumPy's and torch's global generators by (seed, place), hashed: no two runs
    overlap.
    """
    set_random_seed(int(np.random.SeedSequence([seed, *place]).generate_state(1)[0]))


def generator_states() -> dict:
    """The states of the global generators, as a weights-only load may hold them."""
    version, words, gauss = random.getstate()
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return dict(
        python=[version, list(words), gauss],
        numpy=[name, keys.tolist(), *map(float, rest)],
        torch=torch.get_rng_state(),
        cuda=cuda,
    )


def set_generator_states(states: dict) -> None:
    """Puts back what :func:`generator_states` gave."""
    version, words, gauss = states['python']
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = states['numpy']
    np.random.set_state((name, np.array(keys, np.uint32), int(position), int(has_gauss), cached))  # noqa: NPY002
    torch.set_rng_state(states['torch'].cpu())
    if len(states['cuda']) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.cpu() for state in states['cuda']])


@contextlib.contextmanager
def untouched_generators() -> Iterator[None]:
    """Leaves the global generators as it found them."""
    states = generator_states()
    try:
        yield
    finally:
        set_generator_states(states)
