"""Files from the web: over https alone, checked against their sha256, whole or not at all."""

import contextlib
import hashlib
import os
import re
import stat
import urllib.request
from pathlib import Path
from urllib.parse import urlparse

import torch
from mmengine.logging import print_log

from mmdynakd.errors import CheckpointError, UnreachableError
from mmdynakd.files import patiently

HASH_ENDING = re.compile(r'-([0-9a-f]{8,64})\.pth?$')
BLOCK = 1 << 20
TIMEOUT = 60  # seconds without a byte


class DownloadError(OSError):
    """A file could not be fetched; nothing of it is left."""


def resolve_checkpoint(checkpoint: str, sha256: str | None = None) -> Path:
    """The local file of ``checkpoint``; an ``https://`` URL is downloaded once.

    Args:
        checkpoint: a path or a URL. A name that ends with ``-23dac2f1.pt`` tells the beginning of
            the file's sha256.
        sha256: the file's, or its beginning, at least 8 hex digits.

    Raises:
        CheckpointError: the file is missing or has another sha256, the scheme is not https, or the
            download fails.
    """
    if sha256 is not None and not (
        isinstance(sha256, str) and re.fullmatch('[0-9a-f]{8,64}', sha256)
    ):
        raise CheckpointError(
            f'cannot be verified: sha256 must be 8 to 64 small hex digits, got {sha256!r}'
        )
    if '://' in checkpoint:
        return _fetched(checkpoint, sha256)
    path = Path(checkpoint).expanduser().absolute()
    try:
        mode = patiently(path.stat, path).st_mode
    except (
        FileNotFoundError,
        NotADirectoryError,
        ValueError,
    ) as error:  # ValueError: a NUL in the name
        if isinstance(error, UnreachableError):
            raise
        raise CheckpointError(f'is missing (looked for {path})') from error
    if stat.S_ISDIR(mode):
        raise CheckpointError('is a folder, where a file is needed')
    found = patiently(lambda: digest(path), path) if sha256 else ''
    if sha256 is not None and not found.startswith(sha256):
        raise CheckpointError(f'has the sha256 {found}, where {sha256} is asked for')
    return path


def cache_place(url: str) -> tuple[Path, str | None]:
    """The file that keeps ``url`` and the hash prefix in its name, if it has one.

    A name with no hash may belong to several URLs, so a digest of the URL goes in front of it.
    """
    parts = urlparse(url)
    if parts.scheme != 'https':
        raise CheckpointError(
            f'is not fetched: only https:// URLs are, not {parts.scheme}:// (or give a local path)'
        )
    basename = os.path.basename(parts.path)
    if not basename:
        raise CheckpointError('is a URL without a file name')
    found = HASH_ENDING.search(basename)
    if not found:
        basename = f'{hashlib.sha256(url.encode()).hexdigest()[:12]}_{basename}'
    return Path(torch.hub.get_dir()) / 'checkpoints' / basename, found.group(1) if found else None


def _fetched(url: str, sha256: str | None) -> Path:
    place, prefix = cache_place(url)
    known = [known for known in (sha256, prefix) if known]
    if place.is_file() and all(digest(place).startswith(start) for start in known):
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        found = download(url, place, known)
    except OSError as error:  # URLError is one
        raise CheckpointError(
            f'cannot be downloaded ({error}); with no internet, fetch it elsewhere and '
            'give its local path'
        ) from error
    if not known:
        print_log(
            f'{url} tells no sha256 to check: pin what came by checkpoint=dict(path=…, '
            f"sha256='{found}')",
            'current',
            30,
        )
    return place


def download(url: str, place: Path, sha256: list[str]) -> str:
    """Fetches ``url`` to the file ``place``, which is written whole or not at all.

    Args:
        url: ``https://…``; where it is redirected to must be https too.
        place: its folder exists.
        sha256: beginnings of the file's sha256 that it must have.

    Returns:
        The file's sha256.

    Raises:
        DownloadError: another scheme, fewer bytes than announced, or another sha256; other OSErrors
            of the network.
    """
    temporary = place.with_name(f'{place.name}.{os.getpid()}.tmp')
    try:
        with _opener().open(url, timeout=TIMEOUT) as answer, open(temporary, 'wb') as file:
            print_log(f'downloading {url} to {place}', 'current')
            announced, found = answer.headers.get('Content-Length'), hashlib.sha256()
            for block in iter(lambda: answer.read(BLOCK), b''):
                found.update(block)
                file.write(block)
            size = file.tell()
        if announced is not None and int(announced) != size:
            raise DownloadError(f'{size} bytes came of {announced}')
        if not all(found.hexdigest().startswith(start) for start in sha256):
            raise DownloadError(f'its sha256 is {found.hexdigest()}, not {sha256[0]}…')
        os.replace(temporary, place)
        return found.hexdigest()
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)


def digest(path: Path) -> str:
    """The sha256 of a file, in hex."""
    found = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(BLOCK), b''):
            found.update(block)
    return found.hexdigest()


class _HttpsAlone(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, fp, code, msg, headers, newurl):
        _check_scheme(newurl)
        return super().redirect_request(request, fp, code, msg, headers, newurl)


def _check_scheme(url: str) -> None:
    if urlparse(url).scheme != 'https':
        raise DownloadError(f'it leads to {url}, and only https:// is followed')


def _opener() -> urllib.request.OpenerDirector:
    """Opens https:// and nothing else; it takes the proxies of the environment."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        _HttpsAlone,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    opener.addheaders = [('User-Agent', 'mmdynakd')]
    return opener
