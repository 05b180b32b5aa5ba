"""Runs in words: what the display, the logs and the messages say of one. No torch."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grok_sweep.store import PlannedRun, RunDir, State
from grok_sweep.sweep.command_line import SHORTHANDS

LOG_LINES = 20
"""Lines of a failed run's log that an error message ends with."""


def command(*words: str) -> str:
    """A command as it can be pasted into the shell that this one was typed in: by this Python, if it is another."""
    python = Path(sys.executable)
    on_path = shutil.which("python")
    if on_path is not None and Path(on_path).parent == python.parent:
        shown = "python"
    else:
        inside = python.is_relative_to(Path.cwd())
        shown = shlex.quote(str(python.relative_to(Path.cwd()) if inside else python))
    return " ".join([shown, *words])


def shown_here(path: Path) -> str:
    """The path relative to the present folder where it lies in it."""
    path = path.resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def axes_in_words(run: PlannedRun) -> str:
    """wd=1.0, frac=0.3: the swept settings as one would type them."""
    return ", ".join(f"{name}={value}" for name, value in short_axes(run).items())


def short_axes(run: PlannedRun) -> dict[str, Any]:
    """The axes, under a shorthand where it stands for all of its settings."""
    axes = dict(run.axes)
    for short, targets in SHORTHANDS.items():
        values = [axes.get(target) for target in targets]
        if all(target in axes for target in targets) and all(value == values[0] for value in values):
            axes = {
                short if name == targets[0] else name: value
                for name, value in axes.items()
                if name not in targets[1:]
            }
    return axes


def named(run: PlannedRun) -> str:
    """3fa9c1d20b7e (wd=1.0, frac=0.3)"""
    words = axes_in_words(run)
    return f"{run.run_id} ({words})" if words else run.run_id


_NEW_SUMMARY = "delete status.json, and the same command writes both anew"


def ending(run_dir: RunDir) -> str:
    """How a run stands: done at step 5000: t_train 120, t_test 2550, grokking."""
    status = run_dir.status()
    state = State(status["state"])
    at = f"{state.value} at step {status.get('step', 0)}"
    if state is State.done:
        try:
            summary = run_dir.summary()
        except ValueError as error:
            return f"{at}, but {error}; {_NEW_SUMMARY}"
        if summary is None:
            return f"{at}, but {run_dir.summary_file} is gone; {_NEW_SUMMARY}"
        times = {name: summary.get(name) for name in ("t_train", "t_test")}
        facts = [f"{name} {'not reached' if step is None else step}" for name, step in times.items()]
        facts.append(str(summary.get("phase")).replace("_", " "))
        if summary.get("bitwise") is False:
            facts.append("continued on other threads, device or library (bitwise: false in summary.json)")
        by_rule = " by the stop rule" if status.get("end") == "stop_rule" else ""
        return f"{at}{by_rule}: " + ", ".join(facts)
    if state is State.failed:
        return f"{at}: {status.get('error')}"
    return at


def some(n: int, noun: str) -> str:
    """1 run, 3 runs."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def size(n_bytes: int) -> str:
    """12 KB, 3.4 MB, 5.1 GB."""
    for unit, factor in (("GB", 2**30), ("MB", 2**20)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.1f} {unit}"
    return f"{n_bytes / 2**10:.0f} KB"


def last_values(row: Mapping[str, Any]) -> str:
    """train loss 1.2e-05 acc 1.000, test loss 3.41 acc 0.312: of one row."""
    return ", ".join(
        f"{side} loss {number(row.get(f'{side}_loss'))} acc {number(row.get(f'{side}_acc'), '.3f')}"
        for side in ("train", "test")
    )


def number(value: Any, form: str = ".3g") -> str:
    return "–" if value is None else format(value, form)


def duration(seconds: float | None) -> str:
    """45 s, 12 min, 3.4 h; – where it is not known."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def end_of_log(run_dir: RunDir, n: int = LOG_LINES) -> list[str]:
    try:
        return run_dir.log_file.read_text(errors="replace").splitlines()[-n:]
    except FileNotFoundError:
        return []


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of words as lines, each column as wide as its widest word."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
