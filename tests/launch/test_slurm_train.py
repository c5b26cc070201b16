"""tools/slurm_train.sh with a fake srun, which starts the processes here, without a GPU."""

import json
import os
import shutil
import subprocess
import sys

import fake_slurm
import pytest
import torch
from mmengine.config import Config
from runs import CHECKOUT

from mmdynakd.launch.processes import connected

ECHO = """import json, os, sys
rank = os.environ['SLURM_PROCID']
json.dump([sys.argv[1:], os.environ['SLURM_NTASKS']], open(f'rank{rank}.json', 'w'))
sys.exit(3 if sys.argv[1] == 'fail.py' else 0)
"""


@pytest.fixture
def srun(tmp_path, monkeypatch):
    """Runs the script beside a train.py that notes its arguments; exit status and srun's words."""
    fake_slurm.install(tmp_path / 'bin')
    (tmp_path / 'tools').mkdir()
    shutil.copy(CHECKOUT / 'tools' / 'slurm_train.sh', tmp_path / 'tools')
    (tmp_path / 'tools' / 'train.py').write_text(ECHO)
    env = dict(
        os.environ,
        PATH=f'{tmp_path / "bin"}:{os.environ["PATH"]}',
        FAKE_SLURM=str(tmp_path),
        PYTHON=sys.executable,
    )

    def call(*arguments, **variables):
        command = ['bash', str(tmp_path / 'tools' / 'slurm_train.sh'), *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env={**env, **variables}, capture_output=True, text=True
        )
        path = tmp_path / 'argv'
        return done, json.loads(path.read_text().splitlines()[-1]) if path.exists() else None

    return call


def test_words_arrive_as_they_were_given(srun, tmp_path):
    options = ['--work-dir', 'a b; touch x', '--cfg-options', "y='$(touch x)'"]
    done, words = srun(
        'gpu part', 'my job', 'a config.py', *options, GPUS='3', SRUN_ARGS='--time=1:00 --qos=low'
    )
    assert done.returncode == 0, done.stderr
    assert words[0] == 'srun'
    assert {
        '--partition=gpu part',
        '--job-name=my job',
        '--gres=gpu:3',
        '--ntasks=3',
        '--ntasks-per-node=3',
        '--cpus-per-task=5',
        '--kill-on-bad-exit=1',
        '--time=1:00',
        '--qos=low',
    } <= set(words)
    for rank in range(3):
        given, processes = json.loads((tmp_path / f'rank{rank}.json').read_text())
        assert given == ['a config.py', '--launcher', 'slurm', *options]
        assert processes == '3'
    assert not (tmp_path / 'x').exists()


def test_eight_gpus_a_node_by_default(srun):
    words = srun('p', 'j', 'c.py', GPUS='16')[1]
    assert {'--ntasks=16', '--ntasks-per-node=8', '--gres=gpu:8'} <= set(words)


def test_its_status_is_that_of_the_training_and_usage_is_said(srun):
    assert srun('p', 'j', 'fail.py', GPUS='2')[0].returncode == 3
    done, _ = srun('p', 'j')
    assert done.returncode == 2
    assert 'PARTITION JOB_NAME CONFIG' in done.stderr


def test_processes_of_srun_find_one_another_without_a_gpu(tmp_path, monkeypatch):
    """MMEngine's own way asks for a GPU in each."""
    fake_slurm.install(tmp_path / 'bin')
    monkeypatch.setenv('PATH', f'{tmp_path / "bin"}:{os.environ["PATH"]}')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    for key, value in dict(
        FAKE_SLURM=tmp_path,
        SLURM_PROCID=0,
        SLURM_NTASKS=1,
        SLURM_LOCALID=0,
        SLURM_NODELIST='node[1-2]',
        MASTER_PORT=0,
    ).items():
        monkeypatch.setenv(key, str(value))
    for key in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR'):  # put back as they were
        monkeypatch.setenv(key, '7')
    monkeypatch.delenv('MASTER_ADDR')
    cfg = Config(dict(launcher='slurm'))
    with connected(cfg):
        assert torch.distributed.get_backend() == 'gloo'
        assert (torch.distributed.get_rank(), torch.distributed.get_world_size()) == (0, 1)
        assert os.environ['MASTER_ADDR'] == '127.0.0.1'
        assert os.environ['LOCAL_RANK'] == '0'
        assert cfg.model_wrapper_cfg.device_ids is None
    os.environ.pop('MASTER_ADDR')
