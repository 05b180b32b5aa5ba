"""info: what a run is and the command that trains it alone; what a sweep is and the commands that made it."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grok_sweep.commands.launches import MOST_COMMANDS, commands
from grok_sweep.commands.paths import is_sweep, run_at, sweep_at
from grok_sweep.commands.status import counted
from grok_sweep.store import PlannedRun, RunDir, SweepDir, read_json
from grok_sweep.sweep.alone import alone, settings_of
from grok_sweep.sweep.claims import describe
from grok_sweep.sweep.command_line import EXIT_DONE, SHORTHANDS
from grok_sweep.sweep.retype import CHOSEN_IN_CONF, as_words, differing
from grok_sweep.sweep.survey import look_at, pace, survey
from grok_sweep.sweep.words import ending, named, number, size, some

MOST_VALUES = 8
SUMMARY = ("t_train", "t_test", "t_novel", "grok_delay", "phase", "key_freqs", "key_gap", "n_train", "bitwise")


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "info",
        help="what a run is, and the command that trains it alone; what a sweep is",
        description="Of a run: folder, state, settings that differ from the defaults, summary, provenance, and the "
        "command that trains it alone, in the same folder. Of a sweep: its axes, states, commands and disk.",
    )
    parser.add_argument("path", type=Path, help="a sweep's folder, or a run's")
    parser.add_argument("--json", action="store_true", help="everything that is known of a run, as JSON")
    parser.set_defaults(carry_out=carry_out)


def carry_out(given: argparse.Namespace) -> int:
    if is_sweep(given.path):
        print("\n".join(of_sweep(sweep_at(given.path))))
        return EXIT_DONE
    sweep, run = run_at(given.path)
    if given.json:
        print(json.dumps(as_json(sweep, run), indent=1))
    else:
        print("\n".join(of_run(sweep, run)))
    return EXIT_DONE


# --- a run --------------------------------------------------------------------------------------------------


def of_run(sweep: SweepDir, run: PlannedRun) -> list[str]:
    run_dir, seen = sweep.run(run.run_id), look_at(sweep, run)
    stands = ending(run_dir)
    if seen.is_worked_on and seen.holder:
        stands = f"running at step {pace(run_dir, seen).step}, held by {describe(seen.holder)}"
    lines = [
        named(run),
        f"  {run_dir.path}",
        f"  {stands}",
        "",
        "settings that are not the defaults",
    ]
    settings = {n: v for n, v in differing(settings_of(sweep, run)).items() if n not in CHOSEN_IN_CONF}
    lines += [f"  {word}" for word in as_words(settings)] or ["  none"]
    lines += _summary(run_dir) + _attempts(run_dir)
    return [*lines, "", "this run alone, in the same folder:", f"  {alone(sweep, run)}"]


def _summary(run_dir: RunDir) -> list[str]:
    summary = run_dir.summary()
    if summary is None:
        return []
    lines = ["", "summary"]
    lines += [f"  {name:11} {_value(name, summary[name])}" for name in SUMMARY if name in summary]
    for name in ("train_loss", "test_loss", "test_acc"):
        if f"final.{name}" in summary:
            lines.append(f"  final {name:11} {number(summary[f'final.{name}'], '.4g')}")
    return [*lines, f"  all of it: {run_dir.summary_file}"]


def _value(name: str, value: Any) -> str:
    if value is None:
        return "not reached" if name.startswith("t_") else "none"
    return number(value, ".4g") if isinstance(value, float) else str(value)


def _attempts(run_dir: RunDir) -> list[str]:
    attempts = (read_json(run_dir.provenance_file) or {}).get("attempts", [])
    if not attempts:
        return []
    lines = ["", f"trained in {some(len(attempts), 'attempt')}"]
    for attempt in attempts[-MOST_COMMANDS:]:
        commit = str(attempt.get("commit"))[:10] + (" with changes" if attempt.get("changed") else "")
        lines.append(
            f"  {attempt.get('started')} from step {attempt.get('from_step')} on {attempt.get('host')}, "
            f"{attempt.get('device')}, {some(attempt.get('n_threads', 1), 'thread')}, torch {attempt.get('torch')}, "
            f"commit {commit}"
        )
    return lines


def as_json(sweep: SweepDir, run: PlannedRun) -> dict[str, Any]:
    run_dir = sweep.run(run.run_id)
    return {
        "run_id": run.run_id,
        "folder": str(run_dir.path),
        "axes": run.axes,
        "status": run_dir.status(),
        "settings": run.settings,
        "summary": run_dir.summary(),
        "provenance": read_json(run_dir.provenance_file),
        "command": alone(sweep, run),
    }


# --- a sweep ------------------------------------------------------------------------------------------------


def of_sweep(sweep: SweepDir) -> list[str]:
    seen = survey(sweep)
    lines = [f"{some(len(seen), 'run')} in {sweep.path}", counted(seen), "", "axes"]
    lines += _axes([s.run for s in seen]) or ["  none: one run"]
    typed = commands(sweep)
    if typed:
        lines += ["", "asked for by" if len(typed) == 1 else f"asked for by {len(typed)} commands, the latest last"]
        lines += [f"  {line}" for line in typed[-MOST_COMMANDS:]]
    n_bytes, n_files = _disk(sweep.path)
    return [*lines, "", f"disk: {size(n_bytes)} in {n_files} files"]


def _axes(runs: Sequence[PlannedRun]) -> list[str]:
    values: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, value in run.axes.items():
            values.setdefault(name, {})[str(value)] = None
    for short, targets in SHORTHANDS.items():
        if all(target in values for target in targets) and len({tuple(values[target]) for target in targets}) == 1:
            values = {short if n == targets[0] else n: v for n, v in values.items() if n not in targets[1:]}
    return [f"  {name}: {_some_values(list(found))}" for name, found in values.items()]


def _some_values(values: Sequence[str]) -> str:
    if len(values) <= MOST_VALUES:
        return ", ".join(values)
    return f"{len(values)} values, {', '.join(values[:3])}, …, {values[-1]}"


def _disk(folder: Path) -> tuple[int, int]:
    """Bytes and number of files under a folder, by what the files hold."""
    n_bytes = n_files = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                more = _disk(Path(entry.path))
                n_bytes, n_files = n_bytes + more[0], n_files + more[1]
            else:
                n_bytes, n_files = n_bytes + entry.stat(follow_symlinks=False).st_size, n_files + 1
    return n_bytes, n_files
