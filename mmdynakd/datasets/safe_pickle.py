"""Read pickled NumPy arrays from a file that is not trusted."""

import io
import pickle
from typing import Any, Literal

import numpy as np
import numpy.typing as npt


def load_arrays(content: bytes) -> Any:
    """Unpickles containers, text, numbers and NumPy arrays; Python 2 text is read as latin1.

    Args:
        content: a pickle of any protocol, 0 to 5.

    Returns:
        What it holds.

    Raises:
        pickle.UnpicklingError: it asks for anything else, which is named; nothing was executed.
            A damaged pickle raises this or almost any other exception.

    Examples:
        >>> load_arrays(pickle.dumps(dict(data=np.arange(3)), protocol=2))['data'].tolist()
        [0, 1, 2]
        >>> load_arrays(pickle.dumps(print))
        Traceback (most recent call last):
        _pickle.UnpicklingError: it asks for builtins.print, which no array needs; nothing was ...
    """
    return _ArrayUnpickler(io.BytesIO(content), encoding='latin1').load()


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles containers, text, numbers and NumPy arrays, and refuses every other global."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ('_codecs', 'encode'):  # how protocol 2 spells bytes
            return _latin1
        if module in ('numpy.core.multiarray', 'numpy._core.multiarray') and name == '_reconstruct':
            return np.empty(0).__reduce__()[0]
        if module in ('numpy.core.numeric', 'numpy._core.numeric') and name == '_frombuffer':
            return _frombuffer  # how protocol 5 spells arrays
        if module == 'numpy' and name in ('ndarray', 'dtype'):
            return getattr(np, name)
        raise pickle.UnpicklingError(
            f'it asks for {module}.{name}, which no array needs; nothing was executed'
        )


def _latin1(text: str, encoding: str = 'latin1') -> bytes:
    return text.encode('latin1')


def _frombuffer(
    buffer: bytes, dtype: npt.DTypeLike, shape: tuple[int, ...], order: Literal['C', 'F', 'A']
) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)
    return array
