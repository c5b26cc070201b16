"""One run of an evaluation: ``python -m mmdynakd.evaluation.worker FOLDER``, by whatever executor.

FOLDER holds ``assignment.json``. The run goes on from its newest checkpoint; a finished one is left
alone; while another process trains in the folder, this one waits, and then takes over or finds it
finished.
"""

import argparse
import os
import os.path as osp
import sys
import time

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log

from mmdynakd.errors import UserError
from mmdynakd.files import read_json, write_json
from mmdynakd.launch.run import built, connected
from mmdynakd.workdir.runs import RunInUseError, begin, finish

from .executors.tie import end_with_parent
from .plan import Run, finished_results, import_custom
from .progress import ProgressHook

MODULE = 'mmdynakd.evaluation.worker'
ASSIGNMENT, LOG = 'assignment.json', 'log.txt'
PATIENCE = 2.0  # seconds between two looks at a folder in use


def command(run: Run, processes: int, tied: bool) -> list[str]:
    """The command line that does the run, in as many processes.

    Args:
        run: whose folder has its assignment.
        processes: that share its global batch, on one machine.
        tied: they end when their standard input does: when the process that started them is no
            more.
    """
    several = (
        [
            '-m',
            'torch.distributed.run',
            '--standalone',
            '--local-addr=127.0.0.1',
            f'--nproc-per-node={processes}',
        ]
        if processes > 1
        else []
    )
    return [sys.executable, *several, '-m', MODULE, run.folder, *(['--tied'] if tied else [])]


def assign(run: Run) -> None:
    """Writes what the worker is to do into the run's folder."""
    write_json(
        run.folder,
        ASSIGNMENT,
        dict(
            config_sha256=run.config_sha256,
            filename=run.config.filename,
            config=run.config.to_dict(),
        ),
    )


def assigned(folder: str) -> tuple[Config, str] | None:
    """The config in a run's folder and its hash; None where there is none."""
    try:
        content = read_json(osp.join(folder, ASSIGNMENT))
        return Config(content['config'], cfg_text=' ', filename=content['filename']), content[
            'config_sha256'
        ]
    except (UserError, KeyError, TypeError):
        return None


def work(folder: str) -> None:
    """Does the run in ``folder`` to its end, unless that was reached before.

    Raises:
        UserError: without an assignment that can be read.
    """
    found = assigned(folder)
    if found is None:
        raise UserError(
            f'{osp.join(folder, ASSIGNMENT)} is missing or damaged on {os.uname().nodename}: the '
            'results '
            'must lie on a file system that all machines share; mmdynakd evaluate '
            'writes it'
        )
    cfg, config_sha256 = found
    import_custom(cfg)
    with connected(cfg):
        if not _begin_when_free(cfg):
            return
        if (
            finished_results(folder, config_sha256) is None
        ):  # or ended between its results and this note
            built(cfg, *([ProgressHook()] if is_main_process() else [])).train()
        finish(cfg)


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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', help='of the run')
    parser.add_argument('--tied', action='store_true', help='end when standard input ends')
    args = parser.parse_args()
    if args.tied:
        end_with_parent()
    work(args.folder)


if __name__ == '__main__':
    main()
