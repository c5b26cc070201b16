"""Fixtures for real data and teachers, and the order of the files.

Where data or teachers are absent, tests that need them skip with a reason.
"""

import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

if 'PYTEST_XDIST_WORKER' in os.environ:
    # A core each, and for what they start too; before torch counts the cores.
    os.environ.update(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE')

import pytest
from mmengine.registry import DefaultScope

from mmdynakd import files

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: a core that took one last would work on alone."""
    slow = {item.path for item in items if item.get_closest_marker('slow')}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Spares the garbage collector all that is imported by now.

    MMEngine's data sets collect when they are built: half a second each, for objects that stay.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='module', autouse=True)
def fresh_default_scope() -> Iterator[None]:
    """A Runner leaves its default scope behind in the process; no module inherits another's."""
    DefaultScope._instance_dict.clear()
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch) -> None:
    """Every try to reach a file system that is away is made at once."""
    monkeypatch.setattr(files, 'WAITS', (0,) * len(files.WAITS))


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder ``shared``, beside the checkout or in it: real CIFAR-100 images and teachers."""
    places = (CHECKOUT.parent / 'shared', CHECKOUT / 'shared')
    found = next((place for place in places if (place / 'teachers').is_dir()), None)
    if found is None:
        pytest.skip(
            'no folder "shared" beside the checkout: real CIFAR-100 images and teachers are absent'
        )
    return found


@pytest.fixture(scope='session')
def cifar100_root(shared: Path) -> Iterator[str]:
    """A ``data_root`` with the real images, unpacked once a session (for ``verify=False``)."""
    script = shared / 'cifar100' / 'unpack.py'
    if not script.is_file():
        pytest.skip('shared/cifar100/unpack.py is absent')
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, str(script), folder], check=True, stdout=subprocess.DEVNULL)
        yield folder
