"""python -m grok_sweep measure|publish|settings: work with runs that are there. Exit codes as launch.py."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from grok_sweep import settings_list
from grok_sweep.measures import table
from grok_sweep.store import run_folders
from grok_sweep.sweep.command_line import EXIT_DONE, EXIT_INTERRUPTED, EXIT_RUN_FAILED, EXIT_WRONG_SETTINGS


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m grok_sweep", description="Work with runs that are there.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser(
        "measure",
        help="measure finished runs afterwards",
        description="Measure finished runs afterwards, at their snapshots, or where there are none at every logged "
        "row, by training them once more. Names that end in _final use the final network's key frequencies and go to "
        "final_keys.jsonl, the others to measured.jsonl.",
    )
    one.add_argument("path", type=Path, help="a sweep's folder, or a run's")
    one.add_argument(
        "names", nargs="*", metavar="NAME", help="measures, or dotted paths; default: all that end in _final"
    )
    one.add_argument("--replay", action="store_true", help="at every logged row, though there are snapshots")
    one.add_argument("--again", action="store_true", help="also what was measured before")
    one.add_argument("--n-workers", type=int, default=None, help="processes; default: one a core")
    publishing = commands.add_parser(
        "publish", help="bring the W&B server up to finished runs: the rows that it lacks, summary and settings"
    )
    publishing.add_argument("path", type=Path, help="a sweep's folder, or a run's")
    listing = commands.add_parser("settings", help="list every setting with its default and meaning")
    listing.add_argument("--markdown", action="store_true", help="as docs/settings.md")
    given = parser.parse_args(arguments)
    if given.command == "settings":
        return _settings(given.markdown)
    if given.command == "publish":
        return _publish(given.path)
    return _measure(given.path, given.names, given.replay, given.again, given.n_workers)


def _settings(as_markdown: bool) -> int:
    if as_markdown:
        print(settings_list.markdown(), end="")
        return EXIT_DONE
    for name, default, meaning in settings_list.settings():
        print(textwrap.fill(f"{name}={default}  {meaning}", 100, subsequent_indent="    "))
    return EXIT_DONE


def _measure(path: Path, names: list[str], by_replay: bool, again: bool, n_workers: int | None) -> int:
    names = names or list(table.HINDSIGHT)
    folders = run_folders(path)
    found = _name_problems(names)
    if not folders:
        found.insert(0, _no_run(path))
    if n_workers is not None and n_workers < 1:
        found.append(f"--n-workers must be at least 1, got {n_workers}")
    if found:
        print("\n".join(found), file=sys.stderr)
        return EXIT_WRONG_SETTINGS
    failed = 0
    try:
        from grok_sweep.second_pass import measure_runs  # with torch: only once there is work

        for i, report in enumerate(measure_runs(folders, names, by_replay, again, n_workers), 1):
            failed += report.error
            said = [f"{report.n_rows} rows measured" if report.n_rows else "", report.note]
            print(f"[{i} of {len(folders)}] {report.path.name}: " + "; ".join(filter(None, said)), flush=True)
    except KeyboardInterrupt:
        print("interrupted; what was measured stands, and the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    if failed:
        print(f"{failed} of {len(folders)} runs could not be measured", file=sys.stderr)
    return EXIT_RUN_FAILED if failed else EXIT_DONE


def _publish(path: Path) -> int:
    folders = run_folders(path)
    if not folders:
        print(_no_run(path), file=sys.stderr)
        return EXIT_WRONG_SETTINGS
    from grok_sweep.loggers import publish

    failed = 0
    for i, folder in enumerate(folders, 1):
        try:
            said = f"{publish(folder)} rows uploaded"
        except ValueError as error:  # not finished: nobody's failure
            said = str(error).partition(": ")[2] or str(error)
        except Exception as error:  # whatever wandb raises: no network, no key
            failed, said = failed + 1, " ".join(f"{type(error).__name__}: {error}".split())
        print(f"[{i} of {len(folders)}] {folder.name}: {said}", flush=True)
    if failed:
        print(f"{failed} of {len(folders)} runs could not be published", file=sys.stderr)
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


def _no_run(path: Path) -> str:
    return f"{path}: {'no run is here' if path.exists() else 'no such folder'}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader, `head`, has seen enough
        sys.stderr.close()
