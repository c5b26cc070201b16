"""The scripts of benchmarks/ run, small; what they measure is not tested."""
import os
import subprocess
import sys

import pytest
from runs import CHECKOUT


@pytest.mark.skipif(sys.platform != 'linux', reason='peak memory is read from /proc')
def test_theta_options():
    small = ['--batch', '4', '--steps', '1', '--depth', '8', '--teachers', '8', '14', '--device', 'cpu', '--only',
             "the paper's"]
    command = [sys.executable, str(CHECKOUT / 'benchmarks' / 'theta_options.py'), *small]
    ended = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, OMP_NUM_THREADS='1'))
    assert ended.returncode == 0, ended.stderr
    row = [cell.strip() for cell in ended.stdout.splitlines()[-1].strip('|').split('|')]
    assert row[0] == "the paper's" and row[2] == row[4] == '1.00'
    assert float(row[1]) > 0 and float(row[3]) > 0 and float(row[5]) >= 0
