"""How many processors there are for us, and processes that work for the first one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

from frazil.errors import InputError


def usable_cores() -> int:
    """Cores that this process may use, at least 1.

    On Linux those that affinity leaves it (`taskset`, a batch system, a container's cpuset); elsewhere all there are.
    """
    # only Linux tells the affinity
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers_asked(workers: int | None) -> int:
    """Processes that `--workers` asks for; None for one a core.

    Raises
    ------
    InputError
        If they are fewer than one.

    Examples
    --------
    >>> workers_asked(2)
    2
    """
    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: give 1 or more, or leave it out for one a core")
    return workers or usable_cores()


def work_for_parent() -> None:
    """Make this process one that works for its parent: Ctrl-C is for that one, and the end of that one is its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
