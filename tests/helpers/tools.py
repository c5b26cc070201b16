"""A command line, in this process or in one of its own."""

import contextlib
import io
import os
import re
import runpy
import subprocess
import sys
import uuid
from pathlib import Path
from unittest import mock

from mmengine.config import Config
from runs import CHECKOUT, quick

from mmdynakd.launch.config import keep_teacher_order


def call(name: str, *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of ``python tools/NAME.py ARGUMENTS``, in this process."""
    script, errors = str(CHECKOUT / 'tools' / f'{name}.py'), io.StringIO()
    with (
        quick(),
        contextlib.redirect_stderr(errors),
        mock.patch.object(sys, 'argv', [script, *arguments]),
    ):
        try:
            runpy.run_path(script, run_name='__main__')
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
    return code, errors.getvalue()


def start(name: str, *arguments: str) -> tuple[int, str]:
    """The same in a process of its own."""
    ended = subprocess.run(
        [sys.executable, str(CHECKOUT / 'tools' / f'{name}.py'), *arguments],
        text=True,
        capture_output=True,
        cwd=CHECKOUT,
        env={**os.environ, 'PYTHONPATH': str(CHECKOUT)},
    )
    return ended.returncode, ended.stderr


def write_config(cfg: Config, path: Path) -> Path:
    """The config as a file, under a name of its own for MMEngine's logs."""
    keep_teacher_order(cfg)
    cfg.experiment_name = uuid.uuid4().hex
    with quick():
        text = cfg.pretty_text
    path.write_text(re.sub(r'\bnan\b', "float('nan')", text), encoding='utf-8')
    return path


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder; folders end with a slash."""
    return {
        str(path.relative_to(folder)) + ('/' if path.is_dir() else ''): b''
        if path.is_dir()
        else path.read_bytes()
        for path in sorted(folder.rglob('*'))
    }
