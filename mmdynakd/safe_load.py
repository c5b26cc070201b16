"""Checkpoint files, read without running anything that is in them, by us and by MMEngine.

From torch 2.6 on this is torch's own weights-only unpickler, which :mod:`.compat` teaches what
MMEngine's Runner saves. On older releases it is :mod:`.restricted_pickle`, which knows the same.
"""

import argparse
import contextlib
import errno
import functools
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import torch

from mmdynakd.compat import checkpoint_loaders, release, trust_history_buffers
from mmdynakd.downloads import resolve_checkpoint
from mmdynakd.errors import CheckpointError
from mmdynakd.files import patiently
from mmdynakd.restricted_pickle import RESTRICTED

NATIVE = (2, 6)  # the first torch whose own unpickler can be taught all that is needed
ZIP = b'PK\x03\x04'
PICKLE = (b'\x80\x02', b'\x80\x03', b'\x80\x04', b'\x80\x05')  # protocols 2 to 5


def read_checkpoint(path: Path, map_location: Any = 'cpu') -> Any:
    """Reads a checkpoint, after checking its archive's checksums, which ``torch.load`` does not do.

    Args:
        path: a local file.
        map_location: the device to load to, as ``torch.load`` takes it.

    Returns:
        What the file holds: containers, tensors and plain values.

    Raises:
        CheckpointError: the file is damaged, or holds more than tensors and plain values.
        UnreachableError: its file system does not answer.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), 'a.pth')
        >>> torch.save(dict(weight=torch.ones(2)), path)
        >>> read_checkpoint(path)
        {'weight': tensor([1., 1.])}
        >>> torch.save(print, path)
        >>> read_checkpoint(path)
        Traceback (most recent call last):
        mmdynakd.errors.CheckpointError: is refused: it holds more than tensors, ...
    """
    return patiently(lambda: _read(path, map_location), path)


def _read(path: Path, map_location: Any) -> Any:
    size = path.stat().st_size
    with open(path, 'rb') as file:
        head = file.read(4)
        if head == ZIP:
            _check_records(file, size)
        file.seek(0)
        pickled = head == ZIP or head[:2] in PICKLE
        try:
            if not pickled:
                raise pickle.UnpicklingError('it does not begin like one')
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
                f'is damaged, cut short or not a PyTorch checkpoint ({size} bytes; '
                f'{_reason(error)})'
            ) from error


def load(file: IO[bytes], map_location: Any = 'cpu') -> Any:
    """Does ``torch.load`` of an open file, weights-only on every torch.

    Raises:
        pickle.UnpicklingError: the file asks for what no checkpoint needs. Damaged bytes may raise
            any exception.

    Examples:
        >>> import io
        >>> file = io.BytesIO()
        >>> torch.save([1, 2], file)
        >>> _ = file.seek(0)
        >>> load(file)
        [1, 2]
    """
    if release(torch.__version__) >= NATIVE:
        trust_history_buffers()
        # a bag of values that RepDistiller saves beside the weights
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(file, map_location=map_location, weights_only=True)
    if file.read(2) == ZIP[:2]:
        with zipfile.ZipFile(file) as archive:
            if any(name.rpartition('/')[2] == 'constants.pkl' for name in archive.namelist()):
                raise pickle.UnpicklingError('it is a TorchScript program')
    file.seek(0)
    return torch.load(file, map_location=map_location, pickle_module=RESTRICTED, weights_only=False)


def _check_records(file: IO[bytes], size: int) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            broken = archive.testzip()
    except Exception as error:  # damaged headers raise anything
        if _is_of_the_disk(error):
            raise
        raise CheckpointError(f'is damaged ({size} bytes; {_reason(error)})') from error
    if broken is not None:
        raise CheckpointError(
            f'is damaged ({size} bytes; the checksum of its record {broken} is wrong)'
        )


def _is_of_the_disk(error: Exception) -> bool:
    """EINVAL is not: a damaged header sends zipfile to a place before the file's start."""
    return isinstance(error, OSError) and error.errno != errno.EINVAL


def _reason(error: Exception) -> str:
    """The one line that says what is wrong, without the advice that PyTorch wraps around it."""
    lines = str(error).split('WeightsUnpickler error:')[-1].strip().splitlines()
    return lines[0].split('. ')[0].strip() if lines else type(error).__name__


# --- MMEngine's own loading -----------------------------------------------------------------------


def guard_mmengine() -> None:
    """Makes MMEngine load checkpoints in this way, too.

    This concerns ``resume``, ``load_from`` and ``init_cfg=dict(type='Pretrained')``. MMEngine
    0.10.7 leaves ``weights_only`` to torch, where it is off below 2.6; onedl-mmengine turns it off
    if a file asks for more. Both run and remove what a checkpoint names when they resume from it:
    see :func:`harmless`. Places other than a path and ``https://`` are still read by MMEngine, with
    weights-only forced on.

    Examples:
        >>> guard_mmengine()  # ``import mmdynakd`` does it
        >>> all(hasattr(loader, 'guarded') for loader in checkpoint_loaders().values())
        True
    """
    from mmengine.runner.checkpoint import CheckpointLoader

    for scheme, loader in checkpoint_loaders().items():
        if not hasattr(loader, 'guarded'):
            own = load_from_place if scheme in ('', 'http://', 'https://') else _forced(loader)
            vars(own)['guarded'] = True
            CheckpointLoader.register_scheme(scheme, loader=own, force=True)


def load_from_place(filename: str, map_location: Any = None) -> Any:
    """Loads a checkpoint by path or https URL, as MMEngine asks for it.

    Args:
        filename: a path or a URL.
        map_location: as ``torch.load`` takes it.

    Raises:
        CheckpointError: it cannot be used; the message names it.

    Examples:
        >>> load_from_place('http://example.org/a.pth')
        Traceback (most recent call last):
        mmdynakd.errors.CheckpointError: The checkpoint http://example.org/a.pth is not fetched: ...
    """
    try:
        found = read_checkpoint(resolve_checkpoint(str(filename)), map_location)
    except CheckpointError as error:
        raise CheckpointError(f'The checkpoint {filename} {error}') from error
    return harmless(found, os.path.dirname(os.path.abspath(str(filename))))


def _forced(loader: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(loader)
    def load_weights_only(filename: str, *args: Any, **kwargs: Any) -> Any:
        with _torch_load_replaced():
            return harmless(loader(filename, *args, **kwargs), None)

    return load_weights_only


@contextlib.contextmanager
def _torch_load_replaced() -> Iterator[None]:
    true_load = torch.load

    def weights_only(file: Any, map_location: Any = None, **options: Any) -> Any:
        torch.load = true_load
        try:
            if hasattr(file, 'read'):
                return load(file, map_location)
            with open(file, 'rb') as opened:
                return load(opened, map_location)
        finally:
            torch.load = replacement

    replacement: Any = weights_only
    torch.load = replacement
    try:
        yield
    finally:
        torch.load = true_load


def harmless(checkpoint: Any, folder: str | None) -> Any:
    """Removes from a checkpoint what MMEngine would run or delete when it resumes from it.

    That is the config's text in ``meta``, which it would run. In the message hub it is the paths of
    earlier checkpoints outside ``folder`` (MMEngine deletes ``best_ckpt`` once there is a better
    one), and the numbers of kept checkpoints if they are not numbers.

    Args:
        checkpoint: what was read; changed in place.
        folder: the checkpoint's own; None if it has none.

    Returns:
        The checkpoint.

    Examples:
        >>> harmless(dict(meta=dict(config='import os', seed=1)), None)
        {'meta': {'seed': 1}}
    """
    parts = checkpoint if isinstance(checkpoint, dict) else {}
    meta, hub = parts.get('meta'), parts.get('message_hub')
    if isinstance(meta, dict):
        meta.pop('config', None)
    info = hub.get('runtime_info') if isinstance(hub, dict) else None
    if isinstance(info, dict):
        for key in [key for key in info if not _is_harmless(key, info[key], folder)]:
            del info[key]
    return checkpoint


def _is_harmless(key: object, value: object, folder: str | None) -> bool:
    if str(key).startswith(('best_ckpt', 'last_ckpt')):
        return isinstance(value, str) and folder == os.path.dirname(os.path.abspath(value))
    if key == 'keep_ckpt_ids':
        return isinstance(value, list) and all(type(step) is int for step in value)
    return True
