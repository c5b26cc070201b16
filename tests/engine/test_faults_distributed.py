"""Two processes skip alike, though only one of them sees the bad image."""

import os
import socket
import subprocess
import sys

import pytest
import torch
from runs import CHECKOUT

pytestmark = pytest.mark.dist


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def test_ranks_agree_bit_for_bit_about_an_image_of_one_of_them(tmp_path):
    env = dict(
        os.environ,
        WORLD_SIZE='2',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(free_port()),
        OMP_NUM_THREADS='1',
        CUDA_VISIBLE_DEVICES='',
        PYTHONPATH=os.pathsep.join([str(CHECKOUT / 'tests' / 'helpers'), str(CHECKOUT)]),
    )
    worker = CHECKOUT / 'tests' / 'helpers' / 'fault_worker.py'
    started = [
        subprocess.Popen(
            [sys.executable, str(worker), str(tmp_path)],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(env, RANK=str(rank), LOCAL_RANK=str(rank)),
        )
        for rank in (0, 1)
    ]
    try:
        outputs = [process.communicate(timeout=200)[0] for process in started]
    finally:
        for process in started:  # ranks that do not agree wait for one another
            process.kill()
    assert [process.returncode for process in started] == [0, 0], (
        outputs[0][-3000:] + outputs[1][-3000:]
    )
    first, second = (
        torch.load(tmp_path / f'rank{rank}' / 'found.pth', weights_only=True) for rank in (0, 1)
    )
    assert first['skipped'] == second['skipped'] == {'search': 2, 'search.theta': 3}
    for key, value in first['state_dict'].items():
        assert value.isfinite().all(), key
        assert 'running_' in key or torch.equal(value, second['state_dict'][key]), key
    assert first['texts'] == second['texts']
    assert len(first['texts']) == 5
    lower = [text for text in first['texts'] if "the step of lane 'search'" in text]
    assert all('images that are not finite by sample_idx: 17;' in text for text in lower)
    assert len(lower) == 2
    assert all(
        len(text.split('the batch by sample_idx: ')[1].split(',')) == 8 for text in lower
    )  # that rank's alone
