"""Checkpoint files, read without running anything that is in them, on every torch and in MMEngine
too.

From torch 2.6 on by torch's own weights-only unpickler, which :mod:`.compat` teaches what
MMEngine's Runner saves. Older ones cannot be taught it (2.4 and 2.5: in part): there torch is given
:class:`_Unpickler`, which knows the same.
"""

import argparse
import contextlib
import errno
import functools
import os
import pickle
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from mmdynakd.compat import release, runner_globals, trust_history_buffers
from mmdynakd.downloads import resolve_checkpoint
from mmdynakd.errors import CheckpointError
from mmdynakd.files import patiently

NATIVE = (2, 6)  # torch from which on its own unpickler can be taught all that is needed


def read_checkpoint(path: Path, map_location: Any = 'cpu') -> object:
    """What the file holds, after a check of the archive's checksums, of which ``torch.load``
    compares none.

    Raises:
        CheckpointError: it is damaged, holds more than tensors and plain values, or cannot be read.
    """
    return patiently(lambda: _read(path, map_location), path)


def _read(path: Path, map_location: Any) -> object:
    size = path.stat().st_size
    with open(path, 'rb') as file:
        head = file.read(4)
        archive = head == b'PK\x03\x04'
        pickled = archive or head[:2] in (b'\x80\x02', b'\x80\x03', b'\x80\x04', b'\x80\x05')
        try:
            broken = _broken_record(file) if archive else None
        except Exception as error:  # damaged headers raise anything
            if _is_of_the_disk(error):
                raise
            raise CheckpointError(f'is damaged ({size} bytes; {_reason(error)})') from error
        if broken is not None:
            raise CheckpointError(
                f'is damaged ({size} bytes; the checksum of its record {broken} is wrong)'
            )
        file.seek(0)
        try:
            if not pickled:
                raise pickle.UnpicklingError('it begins like none')
            return load(file, map_location)
        except Exception as error:  # damaged bytes raise anything
            if _is_of_the_disk(error):
                raise
            if isinstance(error, pickle.UnpicklingError) and pickled:
                raise CheckpointError(
                    'is refused: it holds more than tensors, which would run code while it '
                    f'loads; nothing of it was executed ({_reason(error)})'
                ) from error
            raise CheckpointError(
                f'is damaged, cut short or no PyTorch checkpoint ({size} bytes; {_reason(error)})'
            ) from error


def load(file: Any, map_location: Any = 'cpu') -> object:
    """``torch.load`` of an open file, weights-only whatever the release.

    Raises:
        pickle.UnpicklingError: it asks for what no checkpoint needs. Damaged bytes raise anything.
    """
    if release(torch.__version__) >= NATIVE:
        trust_history_buffers()
        # a bag of values that RepDistiller saves beside the weights
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(file, map_location=map_location, weights_only=True)
    if file.read(2) == b'PK':
        with zipfile.ZipFile(file) as archive:
            if any(name.rpartition('/')[2] == 'constants.pkl' for name in archive.namelist()):
                raise pickle.UnpicklingError('it is a TorchScript program')
    file.seek(0)
    return torch.load(file, map_location=map_location, pickle_module=RESTRICTED, weights_only=False)


def _broken_record(file: Any) -> str | None:
    with zipfile.ZipFile(file) as archive:
        return archive.testzip()


def _is_of_the_disk(error: Exception) -> bool:
    """EINVAL is not: a damaged header sends zipfile to a place before the file's start."""
    return isinstance(error, OSError) and error.errno != errno.EINVAL


def _reason(error: Exception) -> str:
    """The one line of a message that says what is wrong, without the advice PyTorch wraps around
    it.
    """
    lines = str(error).split('WeightsUnpickler error:')[-1].strip().splitlines()
    return lines[0].split('. ')[0].strip() if lines else type(error).__name__


# --- torch < 2.6 ----------------------------------------------------------------------------------


@functools.cache
def _known() -> dict[str, Any]:
    """Pickled name -> object, of all that a checkpoint may ask for."""
    utils = torch._utils
    table = {
        'collections.OrderedDict': OrderedDict,
        'torch.Size': torch.Size,
        'torch.device': torch.device,
        'torch.nn.parameter.Parameter': torch.nn.Parameter,
        'builtins.set': set,
        'argparse.Namespace': argparse.Namespace,
        **runner_globals(),
    }
    for function in ('_rebuild_tensor', '_rebuild_tensor_v2', '_rebuild_parameter'):
        table[f'torch._utils.{function}'] = getattr(utils, function)
    table.update(
        {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
    )
    return table


class _Unpickler(pickle._Unpickler):
    """Python's own unpickler, with the names of :func:`_known` and no other, that fills in objects
    of few types.
    """

    dispatch = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _known()[
                f'{"builtins" if module == "__builtin__" else module}.{name}'
            ]  # as protocol 2 says it
        except KeyError:
            raise pickle.UnpicklingError(
                f'it asks for {module}.{name}, which no checkpoint needs'
            ) from None

    def load_build(self) -> None:
        import numpy as np
        from mmengine.logging.history_buffer import HistoryBuffer

        owner = self.stack[-2]
        if not isinstance(
            owner, (OrderedDict, HistoryBuffer, argparse.Namespace, np.ndarray, np.dtype)
        ):
            raise pickle.UnpicklingError(f'it fills in a {type(owner).__name__}')
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build


def _load(file: Any, **options) -> Any:
    return _Unpickler(file, **options).load()


RESTRICTED = types.SimpleNamespace(__name__='restricted', Unpickler=_Unpickler, load=_load)


# --- MMEngine's own loading -----------------------------------------------------------------------


def guard_mmengine() -> None:
    """Lets MMEngine load checkpoints (``resume``, ``load_from``,
    ``init_cfg=dict(type='Pretrained')``) in this way.

    MMEngine 0.10.7 leaves ``weights_only`` to torch, which is off below 2.6; onedl-mmengine turns
    it off where a file asks for more. Both run and remove what a checkpoint names when they resume
    from it: see :func:`harmless`. Other schemes than a path and ``https://`` are loaded by
    MMEngine, with weights-only forced on.
    """
    from mmengine.runner.checkpoint import CheckpointLoader

    for scheme, loader in list(CheckpointLoader._schemes.items()):
        if not hasattr(loader, 'guarded'):
            own = load_from_place if scheme in ('', 'http://', 'https://') else _forced(loader)
            own.guarded = True
            CheckpointLoader.register_scheme(scheme, loader=own, force=True)


def load_from_place(filename: str, map_location: Any = None) -> object:
    """A checkpoint by path or https URL, for MMEngine."""
    try:
        found = read_checkpoint(resolve_checkpoint(str(filename)), map_location)
    except CheckpointError as error:
        raise CheckpointError(f'The checkpoint {filename} {error}') from error
    return harmless(found, os.path.dirname(os.path.abspath(str(filename))))


def _forced(loader):
    @functools.wraps(loader)
    def load_weights_only(filename, *args, **kwargs):
        with _torch_load_replaced():
            return harmless(loader(filename, *args, **kwargs), None)

    return load_weights_only


@contextlib.contextmanager
def _torch_load_replaced():
    true_load = torch.load

    def weights_only(file, map_location=None, **options):
        torch.load = true_load
        try:
            if hasattr(file, 'read'):
                return load(file, map_location)
            with open(file, 'rb') as opened:
                return load(opened, map_location)
        finally:
            torch.load = weights_only

    torch.load = weights_only
    try:
        yield
    finally:
        torch.load = true_load


def harmless(checkpoint: object, folder: str | None) -> object:
    """The checkpoint without what MMEngine would run, or delete, when it resumes from it.

    That is the config's text in ``meta``, and in the message hub the paths of earlier checkpoints
    (``best_ckpt``, which is removed once there is a better one) that lie elsewhere than in
    ``folder``, and numbers of kept checkpoints that are none.
    """
    parts = checkpoint if isinstance(checkpoint, dict) else {}
    meta, hub = parts.get('meta'), parts.get('message_hub')
    if isinstance(meta, dict):
        meta.pop('config', None)
    info = hub.get('runtime_info') if isinstance(hub, dict) else None
    for key in list(info) if isinstance(info, dict) else ():
        value = info[key]
        if str(key).startswith(('best_ckpt', 'last_ckpt')):
            known = isinstance(value, str) and folder == os.path.dirname(os.path.abspath(value))
        else:
            known = key != 'keep_ckpt_ids' or (
                isinstance(value, list) and all(type(step) is int for step in value)
            )
        if not known:
            del info[key]
    return checkpoint
