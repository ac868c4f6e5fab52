"""What becomes of freed memory on the CPU: kept for the next tensor, or handed back to the system."""

from __future__ import annotations

import ctypes
import platform
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_LARGEST_KEPT: Final = 2**30


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory for the next tensor, for the rest of the process.

    glibc hands every block of 32 MB and more back to the system at once; the next one is mapped and cleared page by
    page again, which costs more than what is computed in it. A training step frees and takes the same gigabytes every
    time. The process then holds the most that it ever held; blocks above 1 GiB are handed back as before.

    Returns
    -------
    bool
        Whether it was understood: only by glibc (Linux). Elsewhere nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)) and bool(mallopt(_TRIM_THRESHOLD, -1))
