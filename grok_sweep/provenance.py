"""Where, when and with what a run was computed: the machine, the library, the code's commit."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from grok_sweep.store import CODE_RECORD, RunDir, read_json, write_json


def environment(device: torch.device) -> dict[str, Any]:
    """What the bits of a result depend on beside the settings: device, threads, library, instruction set."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return {
        "device": f"{device.type} {name}",
        "machine": platform.machine(),
        "n_threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


@lru_cache(maxsize=1)
def code_version() -> dict[str, Any]:
    """Commit of this checkout and whether it was changed; commit None outside git.

    Of a copy of the code, as queued jobs run it, what was noted when it was made: it lies inside another checkout.
    """
    here = Path(__file__).resolve().parent
    if (recorded := read_json(here.parent / CODE_RECORD)) is not None:
        return recorded

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return {"commit": commit, "changed": bool(git("status", "--porcelain")) if commit else None}


def add_attempt(run_dir: RunDir, from_step: int, facts: dict[str, Any]) -> None:
    """Append this attempt to provenance.json."""
    attempts = (read_json(run_dir.provenance_file) or {"attempts": []})["attempts"]
    attempts.append(
        {
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "from_step": from_step,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "command": sys.argv,
            "python": platform.python_version(),
            **code_version(),
            **facts,
        }
    )
    write_json(run_dir.provenance_file, {"attempts": attempts})
