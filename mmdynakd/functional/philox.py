"""Philox4x32-10 for many counters at once, in NumPy.

``numpy.random.Philox`` cannot stand in for it: that is Philox4x64-10, whose numbers are others, and
it serves one counter a call, which takes 200 times as long for an epoch's views.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

WORD, HALF = np.uint64(2**32 - 1), np.uint64(32)
MULTIPLIERS = np.array([[0xD2511F53], [0xCD9E8D57]], dtype=np.uint64)
ROUNDS = np.arange(10, dtype=np.uint64)[:, None, None]
WEYL = ROUNDS * np.array([[0x9E3779B9], [0xBB67AE85]], dtype=np.uint64)


def philox4x32(counter: Sequence[Words | int], key: int) -> Words:
    """Random words, a pure function of counter and key.

    Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

    Args:
        counter: four words of 32 bits, lowest first. The first is (B,) uint64, the others (B,) or
            one number for all.
        key: 64 bits.

    Returns:
        (4, B) words of 32 bits, held in uint64.

    Examples:
        >>> words = philox4x32([np.array([0], dtype=np.uint64), 0, 0, 0], key=0)
        >>> [hex(word) for word in words[:, 0].tolist()]
        ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    shape = np.shape(counter[0])
    even, odd = np.empty((2, 2, *shape), dtype=np.uint64)  # words 0 and 2, words 1 and 3
    even[0], odd[0], even[1], odd[1] = counter
    keys = np.array([[key & 0xFFFFFFFF], [key >> 32]], dtype=np.uint64)
    for key_of_round in (keys + WEYL) & WORD:
        product = even * MULTIPLIERS
        even = (product >> HALF)[::-1] ^ odd
        even ^= key_of_round
        product &= WORD
        odd = product[::-1]
    return np.stack([even[0], odd[0], even[1], odd[1]])
