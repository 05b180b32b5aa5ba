"""Which run a figure is of, as a line above it: figures leave their page. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.captions import printable
from analysis.report.methods import task
from analysis.report.record import Record
from analysis.report.words import setting, steps

LETTERS = 124
"""On a line."""
ROOM = 30
"""Pixels above a plot for the names of its stages."""
LOOK: dict[str, Any] = {"anchor": "start", "fontSize": 10, "fontWeight": "normal", "color": "#555555"}


def of_run(record: Record) -> str:
    """nanda2023/3fa9c1d20b7e: (a + b) mod 113, train fraction 0.3, weight decay 1 (decoupled), …, step 40,000."""
    given = record.settings
    parts = [
        task(given),
        f"train fraction {setting(given['data.frac_train'])}",
        f"weight decay {setting(given['optimizer.weight_decay'])} ({given['optimizer.decay']})",
        f"lr {setting(given['optimizer.lr'])}",
        _seeds(given),
        f"step {steps(record.steps)}",
    ]
    return f"{record.sweep}/{record.run_id}: {', '.join(parts)}"


def _seeds(given: Mapping[str, Any]) -> str:
    split, init = given["data.split_seed"], given["model.init_seed"]
    return f"seed {setting(init)}" if split == init else f"seed {setting(init)}, split {setting(split)}"


def of_runs(labels: Sequence[str], sweeps: Sequence[str]) -> str:
    """wd_frac: 1a8b3b: wd=3, seed=0; 569c1b: wd=0.3, seed=0."""
    return f"{', '.join(dict.fromkeys(sweeps))}: {'; '.join(labels)}"


def stamped(spec: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The specification with this text above it, and above its own title where it has one."""
    own = spec.get("title", [])
    own = own.get("text", []) if isinstance(own, Mapping) else own
    lines = [*textwrap.wrap(printable(text), LETTERS), *([own] if isinstance(own, str) else own)]
    room = ROOM if "layer" in spec else 8
    return {**spec, "title": {**LOOK, "offset": room, "text": lines}} if text else dict(spec)
