"""Runs a repair at the moment that the module in need of it is imported, and not before."""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Repair = Callable[[], AbstractContextManager[None]]
_repairs: dict[str, Repair] = {}


def when_imported(name: str, repair: Repair) -> None:
    """Import module ``name``, whoever asks for it, within ``with repair():``.

    Where the module is there already, the context is entered and left at once. A module that is
    reloaded, or removed and imported again, is repaired again. A later repair of the same module
    takes the place of the first.

    Args:
        name: full name of the module.
        repair: gives a context manager.

    Examples:
        >>> import contextlib
        >>> @contextlib.contextmanager
        ... def greet():
        ...     yield
        ...     print('imported')
        >>> when_imported('sys', greet)
        imported
    """
    _repairs[name] = repair
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    if name in sys.modules:
        with repair():
            pass


class _Finder(MetaPathFinder):
    """Finds what the other finders find; a module in need of repair gets a loader that repairs."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _repairs:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _RepairingLoader(spec.loader, _repairs[fullname])
                return spec
        return None


class _RepairingLoader(Loader):
    """Loads as the true loader does, within the repair, and leaves no trace of itself."""

    def __init__(self, true: Loader, repair: Repair) -> None:
        self.true, self.repair = true, repair

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.true.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.true
        if module.__spec__ is not None:
            module.__spec__.loader = self.true
        with self.repair():
            self.true.exec_module(module)


_FINDER = _Finder()
