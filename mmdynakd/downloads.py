"""Files from the web: only over https, checked by sha256, written whole or not at all."""

import hashlib
import logging
import os
import re
import stat
import urllib.request
from http.client import HTTPMessage
from pathlib import Path
from typing import IO
from urllib.parse import urlparse

import torch
from mmengine.logging import print_log

from mmdynakd.errors import CheckpointError, UnreachableError
from mmdynakd.files import patiently, whole

HASH_ENDING = re.compile(r'-([0-9a-f]{8,64})\.pth?$')
BLOCK = 1 << 20  # bytes read at once
TIMEOUT = 60  # seconds without a byte


class DownloadError(OSError):
    """A file could not be fetched; nothing of it is left."""


def resolve_checkpoint(checkpoint: str, sha256: str | None = None) -> Path:
    """Finds the local file of a checkpoint; downloads an ``https://`` URL once.

    Args:
        checkpoint: a path or a URL. A name that ends like ``-23dac2f1.pt`` states the beginning of
            the file's sha256.
        sha256: the file's sha256, or its beginning, at least 8 hex digits.

    Returns:
        The absolute path.

    Raises:
        CheckpointError: the file is missing or has another sha256, the scheme is not https, or the
            download fails.

    Examples:
        >>> resolve_checkpoint('http://example.org/resnet.pth')
        Traceback (most recent call last):
        mmdynakd.errors.CheckpointError: is not fetched: only https:// URLs are, not http:// ...
    """
    if sha256 is not None and not (
        isinstance(sha256, str) and re.fullmatch('[0-9a-f]{8,64}', sha256)
    ):
        raise CheckpointError(
            f'cannot be verified: sha256 must be 8 to 64 lowercase hex digits, got {sha256!r}'
        )
    if '://' in checkpoint:
        return _fetched(checkpoint, sha256)
    path = Path(checkpoint).expanduser().absolute()
    _check_is_file(path)
    found = patiently(lambda: digest(path), path) if sha256 else ''
    if sha256 is not None and not found.startswith(sha256):
        raise CheckpointError(f'has the sha256 {found}, where {sha256} is asked for')
    return path


def _check_is_file(path: Path) -> None:
    try:
        mode = patiently(path.stat, path).st_mode
    except UnreachableError:
        raise
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        # ValueError: a NUL in the name
        raise CheckpointError(f'is missing (looked for {path})') from error
    if stat.S_ISDIR(mode):
        raise CheckpointError('is a folder, where a file is needed')


def cache_place(url: str) -> tuple[Path, str | None]:
    """Says where a URL's file is kept, and the beginning of its sha256 if its name states one.

    A name without a hash may belong to several URLs, so a digest of the URL is put before it.

    Args:
        url: ``https://…``.

    Raises:
        CheckpointError: another scheme, or a URL that names no file.

    Examples:
        >>> place, sha256 = cache_place('https://example.org/resnet-23dac2f1.pt')
        >>> place.name, sha256
        ('resnet-23dac2f1.pt', '23dac2f1')
        >>> cache_place('https://example.org/resnet.pt')[0].name
        '9e2add929d8e_resnet.pt'
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
            f'cannot be downloaded ({error}); without internet, fetch it elsewhere and give its '
            'local path'
        ) from error
    if not known:
        print_log(
            f'{url} states no sha256 to check. To pin what was downloaded, set '
            f"checkpoint=dict(path=…, sha256='{found}')",
            'current',
            logging.WARNING,
        )
    return place


def download(url: str, place: Path, sha256: list[str]) -> str:
    """Downloads ``url`` to the file ``place``, which is written whole or not at all.

    Args:
        url: ``https://…``; a redirection must lead to https too.
        place: the file to write; its folder exists.
        sha256: beginnings that the file's sha256 must have.

    Returns:
        The file's sha256.

    Raises:
        DownloadError: another scheme, fewer bytes than announced, or another sha256.
        OSError: the network or the disk fails.

    Examples:
        >>> download('ftp://example.org/a.pth', Path('a.pth'), [])
        Traceback (most recent call last):
        urllib.error.URLError: <urlopen error unknown url type: ftp>
    """
    with whole(place) as temporary:
        with _opener().open(url, timeout=TIMEOUT) as answer, open(temporary, 'wb') as file:
            print_log(f'downloading {url} to {place}', 'current')
            announced, found = answer.headers.get('Content-Length'), hashlib.sha256()
            for block in iter(lambda: answer.read(BLOCK), b''):
                found.update(block)
                file.write(block)
            size = file.tell()
        if announced is not None and int(announced) != size:
            raise DownloadError(f'only {size} of {announced} bytes arrived')
        if not all(found.hexdigest().startswith(start) for start in sha256):
            raise DownloadError(f'its sha256 is {found.hexdigest()}, not {sha256[0]}…')
    return found.hexdigest()


def digest(path: Path) -> str:
    """The sha256 of a file, in hex.

    ``hashlib.file_digest`` does this from Python 3.11 on.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), 'a')
        >>> _ = file.write_bytes(b'abc')
        >>> digest(file)[:8]
        'ba7816bf'
    """
    found = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(BLOCK), b''):
            found.update(block)
    return found.hexdigest()


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlparse(newurl).scheme != 'https':
            raise DownloadError(f'it leads to {newurl}, and only https:// is followed')
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Opens https:// and nothing else; it uses the proxies that the environment names."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        _HttpsOnly,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    opener.addheaders = [('User-Agent', 'mmdynakd')]
    return opener
