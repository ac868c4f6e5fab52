"""What figures depend on besides the code: processor, threads, versions, and what else runs."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

_CPU, _MEMORY = Path("/proc/cpuinfo"), Path("/proc/meminfo")


@dataclass(frozen=True)
class Machine:
    """A machine at a time."""

    date: str
    """ISO 8601, UTC."""
    cpu: str
    """Its name."""
    cores: int
    """Logical processors."""
    threads: int
    """That torch uses."""
    load: float
    """Mean number of running processes over the last minute."""
    gpu: str | None
    """Name of the GPU, if one is used."""
    python: str
    """Version."""
    versions: dict[str, str]
    """Of packages."""

    @classmethod
    def here(cls, device: torch.device | None = None, packages: Sequence[str] = ("frazil", "torch")) -> Machine:
        """This machine now."""
        lines = _CPU.read_text().splitlines() if _CPU.exists() else []
        names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
        on_gpu = device is not None and device.type == "cuda"
        return cls(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            cpu=next(names, platform.processor() or platform.machine()),
            cores=os.cpu_count() or 1,
            threads=torch.get_num_threads(),
            load=os.getloadavg()[0],
            gpu=torch.cuda.get_device_name(device) if on_gpu else None,
            python=platform.python_version(),
            versions={name: importlib.metadata.version(name) for name in packages},
        )

    @property
    def is_busy(self) -> bool:
        """Whether other work takes so much of the machine that times mean little."""
        return self.load > 0.25 * self.cores

    def text(self) -> str:
        """One line for a person."""
        where = self.gpu or f"{self.cpu}, {self.cores} cores, {self.threads} threads"
        return f"{where}; " + ", ".join(f"{name} {version}" for name, version in self.versions.items())


def free_memory(device: torch.device) -> int | None:
    """Bytes that could be had now, or None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    lines = _MEMORY.read_text().splitlines() if _MEMORY.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), None)
