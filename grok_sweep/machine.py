"""What a process may use of this machine, and how it holds memory. No torch."""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""glibc's numbers, of malloc.h."""


def usable_cores() -> int:
    """Those it is allowed to run on, where the system tells; else all that there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Have this process keep the memory of arrays that are gone, for those of the next row.

    glibc gives large blocks back to the system at once and takes them anew page by page: a fifth of a row's time at
    the paper's size. Elsewhere this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, 2**30)
