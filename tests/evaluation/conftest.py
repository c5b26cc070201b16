"""One search for the tests of independent runs."""

import os

import pytest
import torch
from apart_runs import searched
from runs import CHECKOUT


@pytest.fixture
def one_thread(monkeypatch):
    """As the runs in processes of their own have: more threads add in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setenv('APART_TEST', 'quick')
    monkeypatch.setenv(
        'PYTHONPATH', os.pathsep.join([str(CHECKOUT), str(CHECKOUT / 'tests' / 'helpers')])
    )
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope='session')
def apart_search(tmp_path_factory):
    """The work dir of a search and its evaluation, seven lanes side by side."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield searched(tmp_path_factory.mktemp('apart') / 'work')
    torch.set_num_threads(threads)
