"""The command that trains a run of a sweep alone: read from the sweep's plan."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.load import Sweep
from grok_sweep.store import SweepDir
from grok_sweep.sweep.retype import as_words, measure_choices, words_alone

CONF = Path(__file__).resolve().parents[1] / "conf"
START = ".venv/bin/python launch.py"


def alone(sweep: Sweep) -> dict[str, list[str]]:
    """run_id -> the words, quoted for a shell, that follow START in the project's folder.

    Swept settings are always given, the others where they are not the defaults. Empty for a sweep that has no plan
    on this disk.
    """
    if sweep.parts:
        return {f"{label}/{run}": words for label, part in sweep.parts.items() for run, words in alone(part).items()}
    folder = SweepDir(sweep.path)
    if not folder.plan_file.exists():
        return {}
    inside = sweep.path.resolve().is_relative_to(CONF.parent)
    root = os.path.relpath(sweep.path.resolve().parent, CONF.parent) if inside else str(sweep.path.resolve().parent)
    here = {"sweep": sweep.path.resolve().name, "root": root}
    choices, known = measure_choices(CONF), {}
    return {run.run_id: _words(run.settings | here, run.axes, choices, known) for run in folder.plan()}


def _words(
    settings: Mapping[str, Any],
    axes: Mapping[str, Any],
    choices: Mapping[str, Sequence[str]],
    known: dict[tuple[Any, ...], list[str]],
) -> list[str]:
    """Of one run; `known` holds the words of what runs share, by what they share: few differ in more than axes."""
    own = {name: settings[name] for name in axes if name in settings}
    shared = {name: value for name, value in settings.items() if name not in own}
    values = (tuple(value) if isinstance(value, list) else value for value in shared.values())
    key = (*shared, *values)
    if key not in known:
        known[key] = words_alone(shared, choices)
    return [shlex.quote(word) for word in [*as_words(own), *known[key]]]
