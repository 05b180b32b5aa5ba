"""measure: finished runs measured afterwards."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grok_sweep.commands.paths import trained_at
from grok_sweep.commands.publish import no_run
from grok_sweep.measures import table
from grok_sweep.sweep.command_line import EXIT_DONE, EXIT_INTERRUPTED, EXIT_RUN_FAILED, EXIT_WRONG_SETTINGS


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "measure",
        help="measure finished runs afterwards",
        description="Measure finished runs afterwards, at their snapshots, or where there are none at every logged "
        "row, by training them once more. Names that end in _final use the final network's key frequencies and go to "
        "final_keys.jsonl, the others to measured.jsonl.",
    )
    parser.add_argument("path", type=Path, help="a sweep's folder, or a run's")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="measures, or dotted paths; default: all that end in _final"
    )
    parser.add_argument("--replay", action="store_true", help="at every logged row, though there are snapshots")
    parser.add_argument("--again", action="store_true", help="also what was measured before")
    parser.add_argument("--n-workers", type=int, default=None, help="processes; default: one a core")
    parser.set_defaults(carry_out=carry_out)


def carry_out(given: argparse.Namespace) -> int:
    names = given.names or list(table.HINDSIGHT)
    folders = trained_at(given.path)
    found = _name_problems(names)
    if not folders:
        found.insert(0, no_run(given.path))
    if given.n_workers is not None and given.n_workers < 1:
        found.append(f"--n-workers must be at least 1, got {given.n_workers}")
    if found:
        print("\n".join(found), file=sys.stderr)
        return EXIT_WRONG_SETTINGS
    failed = 0
    try:
        from grok_sweep.second_pass import measure_runs  # with torch: only once there is work

        reports = measure_runs(folders, names, given.replay, given.again, given.n_workers)
        for i, report in enumerate(reports, 1):
            failed += report.error
            said = [f"{report.n_rows} rows measured" if report.n_rows else "", report.note]
            print(f"[{i} of {len(folders)}] {report.path.name}: " + "; ".join(filter(None, said)), flush=True)
    except KeyboardInterrupt:
        print("interrupted; what was measured stands, and the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    if failed:
        print(f"{failed} of {len(folders)} runs could not be measured", file=sys.stderr)
    return EXIT_RUN_FAILED if failed else EXIT_DONE


def _name_problems(names: Sequence[str]) -> list[str]:
    """What is wrong with the names of measures to take, those with the suffix _final included."""
    logged = [name for name in names if name in table.ALWAYS]
    found = [f"{', '.join(logged)}: stands in every row already"] if logged else []
    unknown = [
        name for name in names if name.endswith(table.FINAL) and "." not in name and name not in table.HINDSIGHT
    ]
    if unknown:
        found.append(
            f"unknown measures: {', '.join(unknown)}. With the final key frequencies: {', '.join(table.HINDSIGHT)}"
        )
    return found + table.problems(
        [n for n in names if n not in table.HINDSIGHT and n not in unknown and n not in table.ALWAYS]
    )
