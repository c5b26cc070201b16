"""A process that ends with the one that started it, whatever kills that; needs no package."""

import os
import signal
import threading


def end_with_parent() -> None:
    """Kill this process and its children once standard input, a pipe from the parent, ends.

    Examples:
        A worker that is given ``--tied`` calls it first.
    """
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)
