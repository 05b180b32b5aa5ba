"""The report on a sweep: its folder in, tables of cells, the phase diagram and its page out."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from analysis import sweep_table
from analysis.findings import Findings
from analysis.sweep_map import SweepMap, map_of, map_sweep
from grok_sweep.store import write_atomic

__all__ = ["Findings", "SweepMap", "draw", "draw_sweep", "map_of", "map_sweep", "require_writable", "table"]


def require_writable(folder: Path) -> None:
    """Raises ValueError where nothing can be written to this folder, which may not exist yet: before any work."""
    there = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not there.is_dir():
        raise ValueError(f"cannot write to {folder}: {there} is a file; give another folder with --out")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"cannot write to {folder}: {there} is read-only; give another folder with --out")


def draw(
    found: SweepMap,
    out: str | os.PathLike[str] | None = None,
    colour: Sequence[str] = (),
    findings: Findings | None = None,
) -> list[Path]:
    """Write cells.csv, cells.parquet and phase_diagram.html, .svg, .pdf, .png; return their paths, the page's first.

    Then a .csv for each table of the findings, and .svg, .pdf and .png for each of their figures.

    A map narrowed by `where` says so in its title and its files' names: it never replaces that of the whole sweep.
    So do the figures of chosen colours; the page holds every colour, and opens with these.

    Args:
        out: folder to write to; None: the sweep's own.
        colour: what the figures show, one map each; empty: phase and t_test.

    Raises:
        ValueError: a colour that this sweep has not.
    """
    # Imported here: reading a sweep needs neither Altair nor its converter.
    from analysis import sweep_figure
    from analysis.page import figure_files
    from analysis.sweep_page.page import html

    folder = found.sweep.path if out is None else Path(out)
    findings = findings or Findings()
    drawing = sweep_figure.drawing(found, colour, findings.extras)
    part = "".join(f"_{_plain(condition)}" for condition in found.where)
    chosen = "".join(f"_{_plain(name)}" for name in colour)
    contents = {
        f"phase_diagram{part}.html": html(drawing, folder).encode(),
        **{f"phase_diagram{part}{chosen}{kind}": content for kind, content in sweep_figure.files(drawing).items()},
        f"cells{part}.csv": _csv(drawing.found.cells),
        f"cells{part}.parquet": _parquet(drawing.found.cells),
    }
    contents |= {f"{name}{part}.csv": _csv(table) for name, table in findings.tables.items()}
    for name, spec in findings.figures.items():
        contents |= {f"{name}{part}{kind}": content for kind, content in figure_files(spec).items()}
    for name, content in contents.items():
        write_atomic(folder / name, content)
    return [folder / name for name in contents]


def _plain(text: str) -> str:
    return re.sub("[^A-Za-z0-9.=_-]", "-", text)


def _csv(table: pl.DataFrame) -> bytes:
    """Lists as their items with a space between."""
    lists = [
        pl.col(name).cast(pl.List(pl.String)).list.join(" ") for name, kind in table.schema.items() if kind == pl.List
    ]
    return table.with_columns(lists).write_csv().encode()


def _parquet(table: pl.DataFrame) -> bytes:
    content = io.BytesIO()
    table.write_parquet(content)
    return content.getvalue()


def draw_sweep(
    path: str | os.PathLike[str],
    *,
    x: str | None = None,
    y: str | None = None,
    where: Sequence[str] = (),
    at: int | None = None,
    colour: Sequence[str] = (),
    out: str | os.PathLike[str] | None = None,
) -> Path:
    """Read a sweep, draw its map, and return the path of the page. Arguments and errors as in map_sweep and draw."""
    return draw(map_sweep(path, x, y, where, at), out, colour)[0]


def table(found: SweepMap) -> str:
    """The cells as aligned columns, as the command prints them."""
    return sweep_table.table(found.cells, found.names)
