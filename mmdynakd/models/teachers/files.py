"""The file of a checkpoint: from a path or a URL, read without running anything that is in it."""
import argparse
import contextlib
import hashlib
import os
import pickle
import re
import zipfile
from pathlib import Path
from urllib.parse import urlparse

import torch

HASH_ENDING = re.compile(r'-([0-9a-f]{8,64})\.pth?$')


class CheckpointError(ValueError):
    """A teacher's checkpoint cannot be used; the message names the teacher, the file and the remedy."""


def resolve_checkpoint(checkpoint: str) -> Path:
    """Return the local file of ``checkpoint``, downloading an ``https://`` URL once.

    Raises:
        CheckpointError: If the file is missing, the scheme is not https, or the download or its hash fails.
    """
    if '://' in checkpoint:
        return _download(checkpoint)
    path = Path(checkpoint).expanduser().absolute()
    if path.is_dir():
        raise CheckpointError('is a folder, where a file is needed')
    if not path.is_file():
        raise CheckpointError(f'is missing (looked for {path})')
    return path


def _cache_place(url: str) -> tuple[Path, str | None]:
    """The file that keeps ``url`` and the hash prefix in its name, if it has one.

    A name with no hash may belong to several URLs, so a digest of the URL goes in front of it.
    """
    parts = urlparse(url)
    if parts.scheme != 'https':
        raise CheckpointError(f'is not fetched: only https:// URLs are, not {parts.scheme}:// (or give a '
                              'local path)')
    basename = os.path.basename(parts.path)
    if not basename:
        raise CheckpointError('is a URL without a file name')
    found = HASH_ENDING.search(basename)
    if not found:
        basename = f'{hashlib.sha256(url.encode()).hexdigest()[:12]}_{basename}'
    return Path(torch.hub.get_dir()) / 'checkpoints' / basename, found.group(1) if found else None


def _download(url: str) -> Path:
    place, prefix = _cache_place(url)
    if place.is_file() and (prefix is None or _sha256(place).startswith(prefix)):
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(place), hash_prefix=prefix, progress=True)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash is a RuntimeError
        raise CheckpointError(f'cannot be downloaded ({error}); with no internet, fetch it elsewhere and '
                              'give its local path') from error
    return place


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def read_checkpoint(path: Path) -> object:
    """What the file holds, by the weights-only unpickler, after a check of the archive's checksums.

    ``torch.load`` compares none of them, so that a flipped byte in a weight would pass.
    """
    size = path.stat().st_size
    try:
        archive = zipfile.is_zipfile(path)
        broken = _broken_record(path) if archive else None
    except Exception as error:  # damaged headers raise anything
        raise CheckpointError(f'is damaged ({size} bytes; {_reason(error)})') from error
    if broken is not None:
        raise CheckpointError(
            f'is damaged ({size} bytes; the checksum of its record {broken} is wrong)')
    try:
        with _plain_options():
            return torch.load(str(path), map_location='cpu', weights_only=True)
    except Exception as error:  # damaged bytes raise anything
        if isinstance(error, pickle.UnpicklingError) and (archive or _is_pickle(path)):
            raise CheckpointError('is refused: it holds more than tensors, which would run code while it '
                                  f'loads; nothing of it was executed ({_reason(error)})') from error
        raise CheckpointError(f'is damaged, cut short or no PyTorch checkpoint ({size} bytes; '
                              f'{_reason(error)})') from error


def _plain_options() -> contextlib.AbstractContextManager:
    """Lets ``argparse.Namespace`` through, a bag of values that RepDistiller saves beside the weights.

    torch < 2.5 cannot allow it for one load alone, and refuses such a file.
    """
    allowed = getattr(torch.serialization, 'safe_globals', None)
    return allowed([argparse.Namespace]) if allowed else contextlib.nullcontext()


def _broken_record(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        return archive.testzip()


def _is_pickle(path: Path) -> bool:
    with open(path, 'rb') as file:
        return file.read(2) in (b'\x80\x02', b'\x80\x03', b'\x80\x04', b'\x80\x05')


def _reason(error: Exception) -> str:
    """The one line of a message that says what is wrong, without the advice PyTorch wraps around it."""
    lines = str(error).split('WeightsUnpickler error:')[-1].strip().splitlines()
    return lines[0].split('. ')[0].strip() if lines else type(error).__name__
