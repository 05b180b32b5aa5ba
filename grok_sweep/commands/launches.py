"""The commands that launched a sweep, and what to type for it to go on."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grok_sweep.store import SweepDir, read_json
from grok_sweep.sweep.survey import Seen, workers
from grok_sweep.sweep.words import command, shown_here, some

MOST_COMMANDS = 5


def how_to_continue(sweep: SweepDir, seen: Sequence[Seen]) -> list[str]:
    """Who goes on with what is left: workers that are there, or the command to give."""
    n_workers = len(workers(seen))
    if not any(s.needs_work and not s.is_worked_on for s in seen):
        return []
    if n_workers:
        return [f"at work: {some(n_workers, 'worker')}; the launch command given again takes what they leave"]
    if not (typed := commands(sweep)):
        return ["the launch command given again trains them"]
    return ["to train them:", f"  {typed[-1]}"]


def commands(sweep: SweepDir) -> list[str]:
    """The commands that asked for runs here, the latest last, each once, as they can be pasted.

    From the sweep's history; of a sweep without one, from what the attempts of its runs noted.
    """
    launches = sweep.launches() or _noted_by_runs(sweep)
    return list(dict.fromkeys(filter(None, map(_typed, launches))))


def _noted_by_runs(sweep: SweepDir) -> list[dict[str, Any]]:
    attempts = []
    for run in sweep.plan():
        try:
            found = read_json(sweep.run(run.run_id).provenance_file)
        except ValueError:
            continue
        attempts += (found or {}).get("attempts", [])
    return sorted(attempts, key=lambda attempt: str(attempt.get("started")))


def _typed(launch: dict[str, Any]) -> str | None:
    """The launch as a command; None where it was no launch.py (a job's worker notes what started it)."""
    words = [str(word) for word in launch.get("command", [])]
    at = next((i for i, word in enumerate(words) if word.endswith("launch.py")), None)
    if at is None:
        return None
    script, folder = Path(words[at]), Path(launch.get("folder", os.curdir))
    shown = command(shlex.quote(shown_here(folder / script)), *map(shlex.quote, words[at + 1 :]))
    elsewhere = "folder" in launch and folder.resolve() != Path.cwd()
    return f"cd {shlex.quote(str(folder))} && {shown}" if elsewhere else shown
