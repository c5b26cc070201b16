"""Jobs that note what they see, and waiting for them."""

import sys
import time

from mmdynakd.evaluation import Job

NOTE = (
    'import os, sys; '
    'open(sys.argv[1], "a").write(f"{os.environ.get(sys.argv[2])}\\n"); '
    'print("said")'
)


def job(folder, name, code, *arguments) -> Job:
    return Job(
        name,
        [sys.executable, '-c', code, *map(str, arguments)],
        str(folder),
        str(folder / f'{name}.log'),
    )


def noting(folder, name, variable='CUDA_VISIBLE_DEVICES') -> Job:
    return job(folder, name, NOTE, folder / f'{name}.txt', variable)


def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.02)


def ends(engine, number) -> dict:
    found = {}
    until(lambda: found.update(engine.poll()) or len(found) == number)
    return found
