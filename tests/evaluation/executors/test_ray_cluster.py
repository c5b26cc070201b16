"""A real Ray cluster of two nodes, one of which is killed while a run is in its midst."""

import io
import os
import threading
from pathlib import Path

import pytest
from apart_runs import FEW, assert_lanes_equal, few, lines
from jobs import ends, job, noting, until
from runs import read

from mmdynakd.evaluation import ExecutorError, evaluate, read_plan
from mmdynakd.evaluation.executors.ray_cluster import RayExecutor
from mmdynakd.values import read_results

ray = pytest.importorskip('ray', reason="Ray is optional: pip install 'mmdynakd[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_thread')]
NODE = dict(num_cpus=1, object_store_memory=80 * 2**20)


@pytest.fixture(scope='module')
def cluster():
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('RAY_USAGE_STATS_ENABLED', '0')
        cluster = Cluster(initialize_head=True, head_node_args=dict(NODE, include_dashboard=False))
        try:
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


def raylet(node) -> int:
    (process,) = (info.process for info in node.all_processes['raylet'])
    return process.pid


def ancestors(pid: int) -> list[int]:
    """Of a process, itself first."""
    found = []
    while pid > 1:
        found.append(pid)
        try:
            pid = int(Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[1])
        except FileNotFoundError:
            break
    return found


def test_a_node_is_lost_and_nothing_else(cluster, apart_search, tmp_path):
    """Two of three runs are held, one a node. The second node is killed; then all go on."""
    work_dir, node = few(apart_search, tmp_path / 'work'), cluster.add_node(**NODE)
    for name in FEW:
        (work_dir / f'hold_{name}').touch()
    lost = []

    def held() -> dict[str, list[int]]:
        return {
            name: ancestors(int(pid)) for name in FEW for pid in lines(work_dir, f'held_{name}')[:1]
        }

    def kill_a_node():
        try:
            until(lambda: len(held()) == 2, 600)
            lost.extend(name for name, pids in held().items() if raylet(node) in pids)
            cluster.remove_node(node, allow_graceful=False)
            until(lambda: not os.path.exists(f'/proc/{lines(work_dir, f"held_{lost[0]}")[0]}'), 120)
        finally:
            for name in FEW:
                (work_dir / f'hold_{name}').unlink()

    killer, out = threading.Thread(target=kill_a_node), io.StringIO()
    killer.start()
    results = evaluate(read_plan(work_dir), RayExecutor(cluster.address), out=out)
    killer.join()
    assert len(lost) == 1  # a run was on that node, in its midst
    assert [lines(work_dir, f'ends_{name}') for name in FEW] == [['10']] * 3
    assert {name: lines(work_dir, f'starts_{name}') for name in FEW} == {
        name: ['0', '5'] if name in lost else ['0'] for name in FEW
    }
    assert 'try 2 of 4' in out.getvalue()
    assert_lanes_equal(apart_search, work_dir, FEW)
    assert results == read_results(str(work_dir / 'results.json'))
    written, beside = read(work_dir, 'results.json'), read(apart_search, 'results.json')
    assert written['lanes'] == [
        row for row in beside['lanes'] if row['name'] in ('cat1', 'cat2', 'ce')
    ]
    assert written['selected'] == beside['selected']


def test_tries_are_bounded_and_failures_are_not_tried_again(cluster, tmp_path):
    """A job that kills its Ray worker is tried once more here; one that fails by itself is not."""
    executor = RayExecutor(cluster.address, retries=1)
    deadly = 'import os, sys; open(sys.argv[1], "a").write("x"); os.kill(os.getppid(), 9)'
    elsewhere = job(tmp_path, 'elsewhere', '')
    executor.start(
        [
            job(tmp_path, 'deadly', deadly, tmp_path / 'tries'),
            job(tmp_path, 'bad', 'import sys; sys.exit(3)'),
            noting(tmp_path, 'good', 'OMP_NUM_THREADS'),
            type(elsewhere)('elsewhere', elsewhere.argv, '/not/here', elsewhere.log),
        ]
    )
    found = ends(executor, 4)
    executor.stop()
    assert found['good'] is None
    assert found['bad'] == 'exit status 3'
    assert found['deadly'].endswith('in 2 tries')
    assert '/not/here is not on' in found['elsewhere']
    assert (tmp_path / 'tries').read_text() == 'xx'
    assert (tmp_path / 'good.txt').read_text() == '1\n'
    assert (tmp_path / 'good.log').read_text() == 'said\n'
    with pytest.raises(
        ExecutorError, match=r'no node of the Ray cluster has 2 CPUs and 0 GPUs.*1 CPUs, 0 GPUs'
    ):
        RayExecutor(cluster.address, cpus_per_run=2).start([])
    ray.shutdown()
