"""The report's files: the page, and each figure as SVG, PDF and PNG, by atomic replace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import altair as alt
import vl_convert as vlc

from analysis.page import PNG_SCALE
from analysis.report.blocks import Report
from analysis.report.html import page
from analysis.report.stamp import stamped
from grok_sweep.store import write_atomic

VERSION = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
"""Of Vega-Lite, as its converter names it."""


def write(report: Report, file: Path, figures: Path | None) -> list[Path]:
    """Write the page to `file` and its figures to the folder `figures`; the page's path comes first."""
    specs = {figure.name: stamped(figure.spec(), report.stamp) for figure in report.figures}
    library = vlc.javascript_bundle(vl_version=VERSION)  # pyright: ignore[reportCallIssue] (the stub is wrong)
    write_atomic(file, page(report, specs, library).encode())
    written = [file]
    if figures is not None:
        for name, spec in specs.items():
            written += _pictures(spec, figures / name)
    return written


def _pictures(spec: dict[str, Any], stem: Path) -> list[Path]:
    """SVG, and PDF and PNG made of it: the figure is computed once."""
    svg = vlc.vegalite_to_svg(spec, vl_version=VERSION)
    contents = {".svg": svg.encode(), ".pdf": vlc.svg_to_pdf(svg), ".png": vlc.svg_to_png(svg, scale=PNG_SCALE)}
    for suffix, content in contents.items():
        write_atomic(stem.with_name(stem.name + suffix), content)
    return [stem.with_name(stem.name + suffix) for suffix in contents]
