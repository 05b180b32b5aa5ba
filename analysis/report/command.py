"""python -m analysis run PATH: what the user gives, checked before any work; the report written, its page named."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.captions import printable
from analysis.report.find import find
from analysis.sweep import require_writable

if TYPE_CHECKING:
    from analysis.report.record import Record

MOST_COMPARED = 7
"""Runs side by side: as many as there are colours that can be told apart."""


def add(commands: Any) -> None:
    """The parser of `run`, among those of the other commands."""
    parser = commands.add_parser(
        "run",
        help="report on one run, or on several side by side",
        description="Write report.html and figures/ (SVG, PDF, PNG) for a run, whatever state it is in: curves, "
        "frequencies, neurons, attention, settings, provenance and a methods paragraph. With --compare: the runs "
        "side by side, in compare_<run_ids>.html.",
    )
    parser.add_argument(
        "path", metavar="PATH", help="the run's folder, runs/<sweep>/<run_id>; its first digits suffice"
    )
    parser.add_argument("--compare", metavar="PATH", nargs="+", default=[], help="other runs to put beside it")
    parser.add_argument("--out", metavar="DIR", help="folder to write to; default: the run's own")
    parser.add_argument("--no-figures", action="store_true", help="the page alone, without figures/: half the time")
    parser.set_defaults(command=_run)


def _run(chosen: argparse.Namespace) -> int:
    try:
        written = report_run(chosen.path, chosen.compare, chosen.out, figures=not chosen.no_figures)
    except (ValueError, OSError) as error:
        print(f"python -m analysis: {printable(str(error))}", file=sys.stderr)
        return 2
    page, *figures = written
    if figures:
        print(f"wrote {len(figures)} files of figures in {printable(str(figures[0].parent))}, and the page:")
    print(printable(str(page)))
    return 0


def report_run(
    path: str | os.PathLike[str],
    compare: Sequence[str | os.PathLike[str]] = (),
    out: str | os.PathLike[str] | None = None,
    *,
    figures: bool = True,
) -> list[Path]:
    """Write the report on a run, or on several; the page's path comes first, those of the figures after it.

    Args:
        path: runs/<sweep>/<run_id>; the first digits of the id suffice, and the run may still be training.
        compare: other runs: then the page puts them all side by side.
        out: folder to write to; None: the run's own.
        figures: whether to write each figure as SVG, PDF and PNG beside the page.

    Raises:
        ValueError: a path that is no run's, a file of the run that is broken, a folder that cannot be written to.
    """
    found = [find(each) for each in (path, *compare)]
    folders = [sweep.run(run.run_id).path.resolve() for sweep, run in found]
    if twice := next((folder for folder in folders if folders.count(folder) > 1), None):
        raise ValueError(f"--compare: {twice} is named twice")
    if len(found) > MOST_COMPARED:
        raise ValueError(f"--compare puts at most {MOST_COMPARED} runs side by side, got {len(found)}")
    sweep, run = found[0]
    folder = sweep.run(run.run_id).path if out is None else Path(out)
    require_writable(folder)
    # Imported here: neither `--help` nor a wrong path needs torch or Altair.
    from analysis.report import record

    records = [record.read(*each) for each in found]
    return _one(records[0], folder, figures) if len(records) == 1 else _several(records, folder, figures)


def _one(record: Record, folder: Path, figures: bool) -> list[Path]:
    from analysis.report import one
    from analysis.report.record import open_network
    from analysis.report.write import write

    made = one.report(record, open_network(record))
    return write(made, folder / "report.html", folder / "figures" if figures else None)


def _several(records: Sequence[Record], folder: Path, figures: bool) -> list[Path]:
    from analysis.report import several
    from analysis.report.record import open_network
    from analysis.report.write import write

    made = several.report(records, [open_network(record) for record in records])
    name = "compare_" + "_".join(record.run_id[:6] for record in records)
    return write(made, folder / f"{name}.html", folder / f"{name}_figures" if figures else None)
