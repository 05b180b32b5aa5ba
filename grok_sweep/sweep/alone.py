"""The command that trains one run of a sweep alone, in its folder. No Hydra, no torch."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grok_sweep.store import PlannedRun, SweepDir
from grok_sweep.sweep.retype import as_words, differing
from grok_sweep.sweep.words import command, shown_here

LAUNCH = Path(__file__).resolve().parents[2] / "launch.py"
DEFAULT_MEASURES = "nanda"
"""conf/config.yaml's choice."""


def settings_of(sweep: SweepDir, run: PlannedRun) -> dict[str, Any]:
    """Its settings, with the folder that it lies in now for sweep and root, as the user named it."""
    root = os.path.relpath(sweep.path.resolve().parent) if not sweep.path.is_absolute() else str(sweep.path.parent)
    return run.settings | {"sweep": sweep.path.resolve().name, "root": root}


def alone(sweep: SweepDir, run: PlannedRun) -> str:
    """The command that trains this run alone, in its folder: ready to paste."""
    given = differing(settings_of(sweep, run))
    if given["root"] == "runs":
        del given["root"]
    if (chosen := _measures_file(given["measures.names"])) is not None:
        del given["measures.names"]
    words = [] if chosen in (None, DEFAULT_MEASURES) else [f"measures={chosen}"]
    return command(shlex.quote(shown_here(LAUNCH)), *map(shlex.quote, words + as_words(given)))


def _measures_file(names: Sequence[str]) -> str | None:
    """The file of conf/measures that holds these names and nothing else."""
    for file in sorted((LAUNCH.parent / "conf" / "measures").glob("*.yaml")):
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
        held = [line.removeprefix("  - ") for line in lines[1:]]
        if (lines[:1] == ["names:"] and held == list(names)) or (lines == ["names: []"] and not names):
            return file.stem
    return None
