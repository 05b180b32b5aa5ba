"""The report's files: the page, and each figure as SVG, PDF and PNG, by atomic replace."""

from __future__ import annotations

from pathlib import Path

from analysis.page import figure_files, library
from analysis.report.blocks import Report
from analysis.report.html import page
from analysis.report.stamp import stamped
from grok_sweep.store import write_atomic


def write(report: Report, file: Path, figures: Path | None) -> list[Path]:
    """Write the page to `file` and its figures to the folder `figures`; the page's path comes first."""
    specs = {figure.name: stamped(figure.spec(), report.stamp) for figure in report.figures}
    write_atomic(file, page(report, specs, library()).encode())
    written = [file]
    if figures is not None:
        for name, spec in specs.items():
            for suffix, content in figure_files(spec).items():
                written.append(figures / f"{name}{suffix}")
                write_atomic(written[-1], content)
    return written
