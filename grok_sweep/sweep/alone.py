"""The command that trains one run of a sweep alone, in its folder. No Hydra, no torch."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from grok_sweep.store import PlannedRun, SweepDir
from grok_sweep.sweep.retype import measure_choices, words_alone
from grok_sweep.sweep.words import command, shown_here

LAUNCH = Path(__file__).resolve().parents[2] / "launch.py"


def settings_of(sweep: SweepDir, run: PlannedRun) -> dict[str, Any]:
    """Its settings by itself, with the folder that it lies in now for sweep and root, as the user named it."""
    root = os.path.relpath(sweep.path.resolve().parent) if not sweep.path.is_absolute() else str(sweep.path.parent)
    return run.settings | {"sweep": sweep.path.resolve().name, "root": root, "ensemble.size": "1"}


def alone(sweep: SweepDir, run: PlannedRun) -> str:
    """The command that trains this run alone, in its folder: ready to paste."""
    words = words_alone(settings_of(sweep, run), measure_choices(LAUNCH.parent / "conf"))
    return command(shlex.quote(shown_here(LAUNCH)), *map(shlex.quote, words))
