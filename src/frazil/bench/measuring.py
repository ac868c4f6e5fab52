"""Clock and gauge: seconds and bytes of a call, on a CPU and on a GPU."""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final, final

import torch

_STATUS: Final = Path("/proc/self/status")
_RESET: Final = Path("/proc/self/clear_refs")


@final
@dataclass(frozen=True)
class Stopwatch:
    """Times calls; waits for a GPU before and after.

    Parameters
    ----------
    device : torch.device
        Where the work is done.
    """

    device: torch.device

    def seconds(self, call: Callable[[], object]) -> float:
        """Wall time of one call."""
        self._wait()
        began = perf_counter()
        call()
        self._wait()
        return perf_counter() - began

    def median(self, call: Callable[[], object], budget: float, most: int = 5) -> float:
        """Median wall time of up to `most` calls, of as many as fit into `budget` seconds (one at least)."""
        times = [self.seconds(call)]
        while len(times) < most and sum(times) + times[-1] <= budget:
            times.append(self.seconds(call))
        return median(times)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class Gauge(ABC):
    """Measures how far memory grows during a call."""

    @staticmethod
    def on(device: torch.device) -> Gauge | None:
        """The gauge of a device, or None where the system tells nothing."""
        if device.type == "cuda":
            return _DeviceGauge(device)
        return _ProcessGauge() if _STATUS.exists() and _RESET.exists() else None

    @abstractmethod
    def held(self) -> int:
        """Bytes in use now."""

    @abstractmethod
    def peak(self, call: Callable[[], object]) -> int:
        """Bytes that a call needs at its peak, beyond those in use before it."""


@final
class _ProcessGauge(Gauge):
    """Resident set of this process and its high-water mark (proc(5))."""

    def held(self) -> int:
        return self._trimmed("VmRSS")

    def peak(self, call: Callable[[], object]) -> int:
        before = self._trimmed("VmRSS")
        # writing 5 resets the high-water mark
        _RESET.write_text("5")
        call()
        return max(0, self._status("VmHWM") - before)

    def _trimmed(self, field: str) -> int:
        """A figure once freed memory is given back, so that a call cannot live on it unseen."""
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
        return self._status(field)

    def _status(self, field: str) -> int:
        lines = _STATUS.read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


@final
class _DeviceGauge(Gauge):
    """What torch's allocator hands out on a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def held(self) -> int:
        return torch.cuda.memory_allocated(self._device)

    def peak(self, call: Callable[[], object]) -> int:
        before = self.held()
        torch.cuda.reset_peak_memory_stats(self._device)
        call()
        torch.cuda.synchronize(self._device)
        return torch.cuda.max_memory_allocated(self._device) - before
