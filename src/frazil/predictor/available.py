"""How much memory a run may still take: of the machine, its control group, the process's own limits, a device."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch

_ROOT: Final = Path("/")
_MAPPED_PER_THREAD: Final = 136 << 20
"""Bytes of addresses that a new thread maps besides what it uses: a stack, and twice a heap of malloc, to align it."""
_CONTROL_GROUPS: Final = (
    # version, controllers in /proc/self/cgroup, folder, limits, use, what could be given back at once
    (r"^0::(.*)$", "sys/fs/cgroup", ("memory.max", "memory.high"), "memory.current", "inactive_file"),
    (
        r"^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$",
        "sys/fs/cgroup/memory",
        ("memory.limit_in_bytes",),
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)
"""Versions 2 and 1: line of /proc/self/cgroup, mount, files of limits, file of use, field of reclaimable memory."""


def available_memory(device: torch.device, root: Path = _ROOT) -> int | None:
    """Bytes that this process may still take on a device.

    On the CPU the least of what the machine has available (MemAvailable), what is left of the limits of its control
    groups (where the kernel kills instead of refusing), and what is left of RLIMIT_AS and RLIMIT_DATA.

    Parameters
    ----------
    device : torch.device
        Where the network runs.
    root : Path
        Folder that holds `proc` and `sys`.

    Returns
    -------
    int or None
        At least 0; None where nothing tells, as on systems other than Linux.

    Examples
    --------
    >>> available_memory(torch.device("cpu"), Path("/nowhere")) is None
    True
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    found = [*_of_machine(root), *_of_control_groups(root), *_of_process(root)]
    return max(0, min(found)) if found else None


def _of_machine(root: Path) -> Iterator[int]:
    for kilobytes in re.findall(r"^MemAvailable:\s*(\d+)", _text(root / "proc/meminfo"), re.MULTILINE):
        yield int(kilobytes) << 10


def _of_control_groups(root: Path) -> Iterator[int]:
    """What is left of the limits of the process's group and all that contain it."""
    groups = _text(root / "proc/self/cgroup")
    for pattern, mount, limits, use, reclaimable in _CONTROL_GROUPS:
        for path in re.findall(pattern, groups, re.MULTILINE):
            for folder in _upwards(root / mount, path):
                bounds = [int(text) for name in limits if (text := _text(folder / name).strip()).isdigit()]
                used = _text(folder / use).strip()
                if bounds and used.isdigit():
                    given_back = re.findall(rf"^{reclaimable} (\d+)", _text(folder / "memory.stat"), re.MULTILINE)
                    yield min(bounds) - int(used) + sum(map(int, given_back))


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """Folders of a group and those that contain it; inside a container some may not be visible."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for depth in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:depth])


def _of_process(root: Path) -> Iterator[int]:
    """What is left of the limits on addresses and on data."""
    limits, status = _text(root / "proc/self/limits"), _text(root / "proc/self/status")
    unmapped = _MAPPED_PER_THREAD * torch.get_num_threads()
    for limit, use, reserve in (("Max address space", "VmSize", unmapped), ("Max data size", "VmData", unmapped)):
        bound = re.search(rf"^{limit}\s+(\d+)\s", limits, re.MULTILINE)
        used = re.search(rf"^{use}:\s*(\d+)", status, re.MULTILINE)
        if bound and used:
            yield int(bound[1]) - (int(used[1]) << 10) - reserve


def _text(path: Path) -> str:
    """Content of a small file of the kernel's; empty if there is none or it may not be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
