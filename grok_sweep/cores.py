"""How many cores this process may use. No torch."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Those it is allowed to run on, where the system tells; else all that there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
