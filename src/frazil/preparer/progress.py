"""What a person sees of preparing."""

from __future__ import annotations

from datetime import timedelta

from rich.console import Console

from frazil.progress import LABEL, CountProgress


class PrepareProgress(CountProgress):
    """Entries done, entries failed, and the time left.

    Parameters
    ----------
    console : rich.console.Console or None
        As for `CountProgress`.
    total : int
        Entries to do.
    """

    def __init__(self, console: Console | None, total: int) -> None:
        super().__init__(console, LABEL, total=total, forks=True)
        self._total = total

    def update(self, done: int, failed: int) -> None:
        """So many entries are done, of which so many failed."""

        def line(rate: float) -> str:
            left = timedelta(seconds=round((self._total - done) / rate))
            return f"{done:,} of {self._total:,}, {failed:,} failed, {rate:.1f}/s, {left} left"

        self._count(done, self._total, line, f"{failed} failed")
