"""What a person sees of a measurement: what is on, and the time left."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.status import Status

from frazil.progress import teller


class Progress:
    """A status line in a terminal, plain lines anywhere else.

    Parameters
    ----------
    console : rich.console.Console or None
        Silent without.
    seconds : float
        Time for all of it.
    """

    def __init__(self, console: Console | None, seconds: float) -> None:
        self._console = console
        self._ends = time.monotonic() + seconds
        terminal = console is not None and console.is_terminal
        self._status = Status("starting", console=console) if terminal else None

    def __enter__(self) -> Progress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    @property
    def left(self) -> float:
        """Seconds, at least 0."""
        return max(0.0, self._ends - time.monotonic())

    def say(self, what: str) -> None:
        """`what` is on now."""
        line = f"{what} ({self.left:.0f} s left)"
        if self._status is not None:
            self._status.update(line)
        else:
            self.note(line)

    def note(self, line: str) -> None:
        """A line that stays."""
        teller(self._console)(line)
