"""One run of an evaluation: ``python -m mmdynakd.evaluation.worker FOLDER``, on any executor.

FOLDER holds ``assignment.json``. The run continues from its newest checkpoint; a finished one is
left alone. While another process trains in the folder, this one waits; then it takes over, or finds
the run finished.
"""

import argparse
import os
import os.path as osp
import sys
import time
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log

from mmdynakd.errors import UserError
from mmdynakd.launch.config import import_custom
from mmdynakd.launch.processes import connected
from mmdynakd.launch.run import built
from mmdynakd.values import Value, read, write
from mmdynakd.workdir.runs import RunInUseError, begin, finish

from .executors.tie import end_with_parent
from .plan import Run, finished_results
from .progress import ProgressHook

MODULE = 'mmdynakd.evaluation.worker'
ASSIGNMENT, LOG = 'assignment.json', 'log.txt'
PATIENCE = 2.0  # seconds between two looks at a folder in use


class Assignment(Value, frozen=True, kw_only=True):
    """What a worker is to do.

    Attributes:
        config_sha256: identifies the work.
        filename: of the config that the run's was made from; None if it was made in Python.
        config: of the run.

    Examples:
        >>> Assignment(config_sha256='0' * 64, filename=None, config=dict(work_dir='x')).config
        {'work_dir': 'x'}
    """

    config_sha256: str
    filename: str | None
    config: dict[str, Any]


def command(run: Run, processes: int, tied: bool) -> list[str]:
    """Build the command line that does the run.

    Args:
        run: whose folder holds its assignment.
        processes: that share its global batch, on one machine.
        tied: end them when their standard input ends, that is, when the process that started them
            is gone.

    Examples:
        >>> from mmengine.config import Config
        >>> run = Run('cat1', 0, 'candidate', Config(dict(work_dir='runs/cat1-seed0')))
        >>> command(run, processes=1, tied=True)[1:]
        ['-m', 'mmdynakd.evaluation.worker', 'runs/cat1-seed0', '--tied']
    """
    launcher = ['-m', 'torch.distributed.run', '--standalone', '--local-addr=127.0.0.1']
    several = [*launcher, f'--nproc-per-node={processes}'] if processes > 1 else []
    return [sys.executable, *several, '-m', MODULE, run.folder, *(['--tied'] if tied else [])]


def assign(run: Run) -> None:
    """Write what the worker is to do into the run's folder.

    Examples:
        ``assign(run)`` for each run of a plan, before an executor gets it
    """
    assignment = Assignment(
        config_sha256=run.config_sha256,
        filename=run.config.filename,
        config=run.config.to_dict(),
    )
    write(run.folder, ASSIGNMENT, assignment)


def assigned(folder: str) -> Assignment | None:
    """Read what a run's folder says is to be done; None if nothing.

    Examples:
        >>> assigned('no such folder') is None
        True
    """
    try:
        return read(osp.join(folder, ASSIGNMENT), Assignment, 'mmdynakd evaluate writes it again')
    except UserError:
        return None


def work(folder: str) -> None:
    """Do the run in ``folder``, unless it is finished.

    Raises:
        UserError: there is no assignment that can be read.

    Examples:
        ``work('work_dirs/search/runs/cat1-seed0')``
    """
    found = assigned(folder)
    if found is None:
        raise UserError(
            f'{osp.join(folder, ASSIGNMENT)} is missing or damaged on {os.uname().nodename}: the '
            'results must lie on a file system that all machines share; mmdynakd evaluate writes it'
        )
    cfg = Config(found.config, cfg_text=' ', filename=found.filename)
    import_custom(cfg)
    with connected(cfg):
        if not _begin_when_free(cfg):
            return
        if finished_results(folder, found.config_sha256) is None:
            built(cfg, *([ProgressHook()] if is_main_process() else [])).train()
        finish(cfg)  # also of a run that was killed between its results and this note


def _begin_when_free(cfg: Config) -> bool:
    waited = False
    while True:
        try:
            return begin(cfg)
        except RunInUseError as error:
            if not waited:
                print_log(f'{error}: waiting for its end', 'current')
            waited = True
            time.sleep(PATIENCE)


def main() -> None:
    """Parse the command line, and work.

    Examples:
        ``python -m mmdynakd.evaluation.worker work_dirs/search/runs/cat1-seed0``
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', help='the work dir of the run')
    parser.add_argument('--tied', action='store_true', help='end when standard input ends')
    args = parser.parse_args()
    if args.tied:
        end_with_parent()
    work(args.folder)


if __name__ == '__main__':
    main()
