"""Two processes skip alike, though only one of them sees the bad image."""

import os
import subprocess
import sys

import pytest
import torch
from runs import CHECKOUT

pytestmark = pytest.mark.dist


def test_ranks_agree_bit_for_bit_about_an_image_of_one_of_them(tmp_path):
    worker = CHECKOUT / 'tests' / 'helpers' / 'fault_worker.py'
    path = os.pathsep.join([str(worker.parent), str(CHECKOUT)])
    ended = subprocess.run(
        [sys.executable, str(worker), str(tmp_path)],
        text=True,
        capture_output=True,
        timeout=200,  # ranks that do not agree wait for one another
        env=dict(os.environ, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='', PYTHONPATH=path),
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
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
