"""Where, when and with what a run was computed: the machine, the library, the code's commit and patch."""

from __future__ import annotations

import os
import platform
import socket
import sys
import time
from typing import Any

import torch

from grok_sweep.commit import code
from grok_sweep.store import RunDir, SweepDir, read_json


def environment(device: torch.device) -> dict[str, Any]:
    """What the bits of a result depend on beside the settings: device, threads, library, instruction set."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return {
        "device": f"{device.type} {name}",
        "machine": platform.machine(),
        "n_threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def add_attempt(run_dir: RunDir, from_step: int, facts: dict[str, Any]) -> None:
    """Append this attempt to provenance.json; the code's patch goes to the sweep, or to the run where it has none."""
    sweep = SweepDir(run_dir.path.parent)
    attempts = (read_json(run_dir.provenance_file) or {"attempts": []})["attempts"]
    attempts.append(
        {
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "from_step": from_step,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "command": sys.argv,
            "python": platform.python_version(),
            **code().facts(sweep.path if sweep.plan_file.exists() else run_dir.path),
            **facts,
        }
    )
    run_dir.write(run_dir.provenance_file, {"attempts": attempts})
