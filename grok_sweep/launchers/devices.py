"""What a plan may use of this machine: whether the devices that it names are there, and who gets which cores."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from grok_sweep.machine import usable_cores
from grok_sweep.sweep.grid import Plan


def wrong_here(plan: Plan) -> list[str]:
    """What this machine and its environment stand in the way of, a line each."""
    return _wrong_threads() + _missing_devices(plan)


def _wrong_threads() -> list[str]:
    """OpenMP passes over a value that it cannot read, and takes every core."""
    given = os.environ.get("OMP_NUM_THREADS", "").strip()
    if not given or re.fullmatch(r"0*[1-9][0-9]*(,[0-9]+)*", given):
        return []
    return [f"OMP_NUM_THREADS must be a whole number of at least 1, or unset, got {given!r}"]


def _missing_devices(plan: Plan) -> list[str]:
    """One line for each named device that torch does not find here; torch is imported only where one is named."""
    named = dict.fromkeys(run.settings["device"] for run in plan.runs)
    explicit = [name for name in named if name not in ("auto", "cpu")]
    if not explicit:
        return []
    from grok_sweep.run import choose_device

    found = []
    for name in explicit:
        try:
            choose_device(name)
        except ValueError as error:
            found.append(str(error))
    return found


# --- who gets what ------------------------------------------------------------------------------------------


def gpus_for(plan_settings: Iterable[Mapping[str, Any]]) -> list[str]:
    """The GPUs to deal out among workers, in the words of CUDA_VISIBLE_DEVICES; [] where runs name their own."""
    asked = {settings["device"] for settings in plan_settings}
    return visible_gpus() if asked and asked <= {"auto", "cuda"} else []


def visible_gpus() -> list[str]:
    """Those that CUDA_VISIBLE_DEVICES allows, else those that NVIDIA's driver lists; [] where torch can use none.

    Without importing torch, which takes seconds that a launch does not need.
    """
    if not _torch_has_cuda():
        return []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return [str(i) for i, _ in enumerate(_DRIVER.glob("*"))]
    named = [name.strip() for name in given.split(",")]
    # CUDA reads the names up to the first that means none.
    return list(itertools.takewhile(lambda name: name and not name.startswith("-"), named))


_DRIVER = Path("/proc/driver/nvidia/gpus")


def _torch_has_cuda() -> bool:
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return False
    try:
        text = Path(found.origin).with_name("version.py").read_text()
    except OSError:
        return False
    return re.search(r"^cuda\b[^=\n]*= *None", text, re.MULTILINE) is None


def shared_out(n_runs: int, n_workers: int | None, n_threads: int | None, n_gpu_places: int = 0) -> tuple[int, int]:
    """Workers, and threads of each, such that cores are neither idle nor fought over.

    Args:
        n_runs: all runs of the plan, not those that are left: the same command, given again for the last few, trains
            them with the same number of threads, and so to the same bits.
        n_gpu_places: workers that the GPUs take together; 0: none of them uses one.
    """
    cores = usable_cores()
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # the rest is for nested regions
    if n_threads is None and given.isdecimal():
        n_threads = max(1, int(given))
    most = n_gpu_places or (cores if n_threads is None else max(1, cores // n_threads))
    workers = min(n_runs, n_workers or most)
    return workers, n_threads or max(1, cores // workers)
