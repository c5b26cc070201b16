"""Weights-only loading for torch < 2.6, whose own unpickler cannot be taught what MMEngine saves.

torch 2.4 and 2.5 can be taught only in part, older releases not at all. There ``torch.load`` is
given :data:`RESTRICTED` as its pickle module.
"""

import argparse
import functools
import pickle
import types
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import torch

from mmdynakd.compat import runner_globals
from mmdynakd.compat.torch_internals import PythonUnpickler, tensor_builders


@functools.cache
def known() -> dict[str, Any]:
    """The objects that a checkpoint may ask for, by the names that pickles use.

    Examples:
        >>> known()['torch.float32'], 'posix.system' in known()
        (torch.float32, False)
    """
    return {
        'collections.OrderedDict': OrderedDict,
        'torch.Size': torch.Size,
        'torch.device': torch.device,
        'torch.nn.parameter.Parameter': torch.nn.Parameter,
        'builtins.set': set,
        'argparse.Namespace': argparse.Namespace,
        **runner_globals(),
        **tensor_builders(),
        **{str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)},
    }


class RestrictedUnpickler(PythonUnpickler):
    """Python's own unpickler, restricted to the names in :func:`known`.

    It also refuses to fill in the attributes of an object, except for a few types.

    Examples:
        >>> import io
        >>> RestrictedUnpickler(io.BytesIO(pickle.dumps(print))).load()
        Traceback (most recent call last):
        _pickle.UnpicklingError: it asks for builtins.print, which no checkpoint needs
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {**PythonUnpickler.dispatch}

    def find_class(self, module: str, name: str) -> Any:
        """The object of that name.

        Raises:
            pickle.UnpicklingError: no checkpoint needs it.
        """
        module = {'__builtin__': 'builtins'}.get(module, module)  # protocol 2 says the former
        try:
            return known()[f'{module}.{name}']
        except KeyError:
            raise pickle.UnpicklingError(
                f'it asks for {module}.{name}, which no checkpoint needs'
            ) from None


def _build(unpickler: Any) -> None:
    import numpy as np
    from mmengine.logging.history_buffer import HistoryBuffer

    owner = unpickler.stack[-2]
    if not isinstance(
        owner, (OrderedDict, HistoryBuffer, argparse.Namespace, np.ndarray, np.dtype)
    ):
        raise pickle.UnpicklingError(f'it fills in a {type(owner).__name__}')
    PythonUnpickler.dispatch[pickle.BUILD[0]](unpickler)


RestrictedUnpickler.dispatch[pickle.BUILD[0]] = _build


def _load(file: Any, **options: Any) -> Any:
    return RestrictedUnpickler(file, **options).load()


# torch.load asks for a module with these names.
RESTRICTED = types.SimpleNamespace(__name__='restricted', Unpickler=RestrictedUnpickler, load=_load)
