"""python -m analysis sweep runs/<sweep>: reports on what has been run. Needs neither torch nor Hydra."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.captions import printable
from analysis.report import command as run_report
from analysis.sweep import draw, map_sweep, require_writable, table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0, or 2 for what the user has to put right."""
    chosen = _parser().parse_args(arguments)
    return chosen.command(chosen)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m analysis", description="Reports on runs and sweeps.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sweep = commands.add_parser(
        "sweep",
        help="phase diagram and table of a sweep, finished or still running",
        description="Write cells.csv, cells.parquet and phase_diagram.{html,svg,pdf,png} for a sweep.",
    )
    sweep.add_argument("path", metavar="PATH", help="the sweep's folder, runs/<sweep>")
    sweep.add_argument(
        "--x", metavar="NAME", help="setting on the horizontal axis: wd, frac, p, lr, seed, or a full name"
    )
    sweep.add_argument("--y", metavar="NAME", help="setting on the vertical axis")
    sweep.add_argument(
        "--where",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="only runs with this value, for example p=59; may be given several times",
    )
    sweep.add_argument("--out", metavar="DIR", help="folder to write to; default: the sweep's own")
    sweep.set_defaults(command=_sweep)
    run_report.add(commands)
    return parser


def _sweep(chosen: argparse.Namespace) -> int:
    try:
        found = map_sweep(chosen.path, chosen.x, chosen.y, chosen.where)
        require_writable(Path(chosen.out or chosen.path))
    except (ValueError, OSError) as error:
        return _wrong(error)
    print(table(found))
    try:
        written = draw(found, chosen.out)
    except OSError as error:
        return _wrong(error)
    page, *others = written
    print("wrote", ", ".join(printable(path.name) for path in others), "beside the page:")
    print(printable(str(page)))
    return 0


def _wrong(error: Exception) -> int:
    print(f"python -m analysis: {printable(str(error))}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader, `head`, has seen enough
        sys.stderr.close()
