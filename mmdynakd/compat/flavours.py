"""The distributions of openmmlab and of onedl own the same import folders: one must be here.

pip installs both over each other without a word.
"""

from collections.abc import Iterable

from .releases import installed_version

# import folder -> flavour -> distributions that own the folder
OWNERS: dict[str, dict[str, tuple[str, ...]]] = {
    'mmengine': {'openmmlab': ('mmengine',), 'onedl': ('onedl-mmengine',)},
    'mmcv': {'openmmlab': ('mmcv', 'mmcv-lite'), 'onedl': ('onedl-mmcv',)},
    'mmpretrain': {'openmmlab': ('mmpretrain',), 'onedl': ('onedl-mmpretrain',)},
}


def installed() -> set[str]:
    """Names of the distributions in :data:`OWNERS` that are installed.

    Examples:
        >>> installed() <= {'mmengine', 'mmcv', 'mmcv-lite', 'mmpretrain',
        ...                 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain'}
        True
    """
    names = {name for flavours in OWNERS.values() for own in flavours.values() for name in own}
    return {name for name in names if installed_version(name)}


def check_flavour(distributions: Iterable[str]) -> str:
    """The flavour, ``'openmmlab'`` or ``'onedl'``, that a set of distributions amounts to.

    Args:
        distributions: names of installed distributions.

    Raises:
        ImportError: two distributions own one folder, the flavours are mixed, or a folder has no
            owner. The message holds the command that mends it.

    Examples:
        >>> check_flavour({'mmengine', 'mmcv-lite', 'mmpretrain'})
        'openmmlab'
    """
    given = set(distributions)
    found = {
        folder: [
            (flavour, name) for flavour, names in own.items() for name in names if name in given
        ]
        for folder, own in OWNERS.items()
    }
    flavours = {flavour for owners in found.values() for flavour, _ in owners}
    if len(flavours) > 1 or any(len(owners) > 1 for owners in found.values()):
        everything = sorted(name for owners in found.values() for _, name in owners)
        raise ImportError(
            f'mmdynakd: {", ".join(everything)} do not go together: they hold the same packages '
            'twice, or in two flavours. Remove them all, then install one:\n'
            f'  pip uninstall -y {" ".join(everything)}\n'
            '  pip install "mmdynakd[openmmlab]"   (or "mmdynakd[onedl]")'
        )
    missing = [folder for folder, owners in found.items() if not owners]
    if missing:
        this, other = ('onedl', 'openmmlab') if flavours == {'onedl'} else ('openmmlab', 'onedl')
        hint = '' if flavours else f'   (or "mmdynakd[{other}]")'
        raise ImportError(
            f'mmdynakd needs {", ".join(missing)}, not installed here:\n'
            f'  pip install "mmdynakd[{this}]"{hint}'
        )
    return flavours.pop()
