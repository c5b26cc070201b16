"""Versions as numbers."""

import re
from importlib import metadata


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version; a pre-release counts as its release.

    Args:
        version: such as ``torch.__version__``.

    Raises:
        ValueError: it does not begin with a number.

    Examples:
        >>> release('2.11.0+cu130')
        (2, 11, 0)
    """
    found = re.match(r'\d+(\.\d+)*', version)
    if found is None:
        raise ValueError(f'{version!r} is not a version')
    return tuple(int(part) for part in found.group().split('.'))


def installed_version(distribution: str) -> str | None:
    """The version of an installed distribution, read without importing it; None where it is absent.

    Examples:
        >>> installed_version('no-such-distribution') is None
        True
    """
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
