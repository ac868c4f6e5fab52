"""How much of the machine other work took while something was measured."""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks.crew import Crew

TOLERATED = 0.15
"""Cores taken by others, above which times are not worth much."""
_STAT, _TICKS = Path("/proc/stat"), os.sysconf("SC_CLK_TCK")


class Watch:
    """Counts from its start.

    Parameters
    ----------
    crew : Crew
        Whose own work does not count.
    """

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._began, self._busy, self._own = time.monotonic(), _busy_seconds(), crew.cpu_seconds

    def others(self) -> float | None:
        """Cores that others kept busy on average; None where the system does not tell."""
        if self._busy is None:
            return None
        busy = (_busy_seconds() or 0.0) - self._busy
        own = self._crew.cpu_seconds - self._own
        return max(0.0, busy - own) / max(time.monotonic() - self._began, 1e-6)


def _busy_seconds() -> float | None:
    """Processor time of everything since the machine started: neither idle nor waiting for a disk."""
    if not _STAT.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, _STAT.read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICKS
