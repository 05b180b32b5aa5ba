"""PATH on the command line: which run it means. No torch: what is wrong is told at once."""

from __future__ import annotations

import os
from pathlib import Path

from grok_sweep.commands.paths import run_at
from grok_sweep.store import PlannedRun, SweepDir
from grok_sweep.sweep.alone import alone


def find(path: str | os.PathLike[str]) -> tuple[SweepDir, PlannedRun]:
    """The run whose folder this is; its first digits suffice.

    Raises ValueError, in one line, where it is none, or one that has not begun: there is nothing to report of it.
    """
    sweep, run = run_at(Path(path))
    if not sweep.run(run.run_id).settings_file.exists():
        raise ValueError(f"{path} is planned, but has not begun; this trains it: {alone(sweep, run)}")
    return sweep, run
