"""What is worked out of a sweep beside its cells: boundary, stages, alarms, differences of two sweeps.

Each part gives the same things: tables and figures for files, sections for the page, lines for the terminal. Reads
rows of runs; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

import numpy as np
import polars as pl

from analysis import axes, captions
from analysis.axes import FRAC_TRAIN, WEIGHT_DECAY
from analysis.contours import Contour
from analysis.sweep_map import Extras, SweepMap

SEED = 0
"""Of the draws behind the intervals of alarms: the same sweep gives the same table."""
MOST_BOUNDARIES = 12
"""Combinations of further settings for which a boundary is fitted."""
MOST_CRITICAL = 20
"""Values of the other setting at which critical fractions are looked for: a hundred would take two seconds."""


@dataclass(frozen=True)
class Findings:
    """What one or several parts found.

    Attributes:
        extras: what maps and page show of it.
        tables: name of the file, without its ending, to the table.
        figures: name of the file, without its ending, to a Vega-Lite specification.
        lines: what the command prints.
    """

    extras: Extras = field(default_factory=Extras)
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    lines: Sequence[str] = ()

    def __add__(self, other: Findings) -> Findings:
        mine, its = self.extras, other.extras
        extras = Extras(
            [*mine.boundary, *its.boundary],
            {**mine.stages, **its.stages},
            [*mine.sections, *its.sections],
            mine.compared or its.compared,
        )
        between = [""] if self.lines and other.lines else []
        return Findings(
            extras,
            {**self.tables, **other.tables},
            {**self.figures, **other.figures},
            [*self.lines, *between, *other.lines],
        )


# --- the phase boundary -------------------------------------------------------------------------------------


def boundary(found: SweepMap) -> Findings:
    """The boundary in train fraction along the map's other setting, for each combination of further settings.

    Nothing where train fraction is on neither axis, or the other axis holds no numbers.
    """
    other = next((name for name in (found.x, found.y) if name not in (FRAC_TRAIN, None)), WEIGHT_DECAY)
    if FRAC_TRAIN not in (found.x, found.y) or not _has_numbers(found.runs, other):
        return Findings()
    combinations = list(_combinations(found))
    parts = [_part(runs, other, found.sweep.swept, where) for where, runs in combinations[:MOST_BOUNDARIES]]
    said = [line for part in parts for line in ("", *part.lines)][1:]
    if n := len(combinations) - len(parts):
        said.append(f"and {n} more combinations of settings, for which no boundary was fitted: choose with --where")
    tables = [part.table for part in parts if part.table is not None]
    if not tables:
        return Findings(lines=said)
    section = f"<pre>{escape(chr(10).join(said))}</pre>"
    extras = Extras([line for part in parts for line in part.contours], sections=[("Phase boundary", section)])
    return Findings(extras, {"f_50": pl.concat(tables, how="diagonal_relaxed")}, lines=said)


@dataclass(frozen=True)
class _Part:
    """The boundary for one combination of further settings: `table` is None where its settings allow no fit."""

    lines: Sequence[str]
    contours: Sequence[Contour] = ()
    table: pl.DataFrame | None = None


def _has_numbers(runs: pl.DataFrame, name: str) -> bool:
    return name in runs.columns and runs[name].dtype.is_numeric() and runs[name].null_count() == 0


def _combinations(found: SweepMap) -> Iterator[tuple[dict[str, Any], pl.DataFrame]]:
    """Every combination of the settings off the axes, seeds apart, with its runs."""
    others = [name for name in found.others if name not in axes.SEEDS]
    if not others:
        yield {}, found.runs
        return
    for values in found.runs.select(others).unique(maintain_order=True).rows():
        where = dict(zip(others, values, strict=True))
        here = pl.all_horizontal(pl.col(name).eq_missing(pl.lit(value)) for name, value in where.items())
        yield where, found.runs.filter(here)


def _part(runs: pl.DataFrame, other: str, swept: Sequence[str], where: Mapping[str, Any]) -> _Part:
    # Imported here: it takes scipy.
    from analysis.boundary import contour, critical_fractions, critical_lines, fit_boundary, lines

    named = ", ".join(f"{name}={axes.value_text(value)}" for name, value in where.items())
    head = [captions.printable(named)] if named else []
    try:
        fitted = fit_boundary(runs, y=other, swept=[name for name in swept if name not in where])
    except ValueError as error:
        return _Part([*head, captions.printable(str(error))])
    contours = []
    for budget in fitted.budgets:
        points = contour(fitted, budget)
        if points["f_50"].drop_nulls().len():
            points = points.rename({points.columns[0]: other})
            contours.append(Contour(budget, budget > fitted.events.run_budget, points, other, where))
    table = fitted.table.with_columns(pl.lit(value).alias(name) for name, value in where.items())
    said = [*head, *lines(fitted)]
    n = runs[other].n_unique()
    if not fitted.reason and n > MOST_CRITICAL:
        said += ["", f"critical train fractions: not looked for at {n} values of {fitted.events.name}, more than "
                 f"{MOST_CRITICAL}; --where {other}=VALUE looks at one"]  # fmt: skip
    elif not fitted.reason:
        said += ["", *critical_lines(critical_fractions(fitted))]
    return _Part(said, contours, table)


# --- stages -------------------------------------------------------------------------------------------------


def stages(found: SweepMap) -> Findings:
    """The stages of every run: bands behind its curves, a table, a figure of their boundaries."""
    from analysis.stages_figure import stages_figure
    from analysis.stages_of import each_run, table

    of_run = dict(each_run(replace(found.sweep, runs=found.runs)))
    of_runs = table(found.runs["run_id"].to_list(), of_run)
    bands = {run_id: one.bands() for run_id, one in of_run.items()}
    ended = of_runs["stage"].drop_nulls().value_counts(sort=True).rows()
    said = "stages in which the runs ended: " + ", ".join(f"{n} {name}" for name, n in ended)
    panels = found.y if found.y is not None and found.runs[found.y].n_unique() > 1 else None
    with_stages = found.runs.join(of_runs, on="run_id", maintain_order="left")
    spec = stages_figure(found.title, with_stages, found.x, panels).to_dict()
    return Findings(
        Extras(stages=bands, sections=[("Stages", spec)]),
        {"stages": of_runs},
        {"stages": spec},
        [said if ended else "stages: no run has logged a row yet"],
    )


# --- alarms -------------------------------------------------------------------------------------------------


def alarms(found: SweepMap) -> Findings:
    """Which measure sees grokking coming, over the runs of the map."""
    from analysis.alarms import admissible
    from analysis.alarms.figure import figure
    from analysis.alarms.ranking import rank
    from analysis.alarms.words import text
    from analysis.load import load_rows

    names = admissible.columns(found.runs)
    rows = load_rows(found.sweep, names, found.runs["run_id"].to_list())
    ranking = rank(rows, found.runs, found.sweep.swept, np.random.default_rng(SEED))
    said = ["which measure sees grokking coming", *text(ranking)]
    if not ranking.table.height:
        return Findings(Extras(sections=[("Which measure sees grokking coming", _paragraph(said[1:]))]), lines=said)
    spec = figure(ranking, found.title).to_dict()
    return Findings(
        Extras(sections=[("Which measure sees grokking coming", spec)]),
        {"alarms": ranking.table, "alarms_by_run": ranking.alarms},
        {"alarms": spec},
        said,
    )


def _paragraph(lines: Sequence[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


# --- two sweeps ---------------------------------------------------------------------------------------------


def differences(found: SweepMap) -> Findings:
    """Two sweeps cell by cell, their seeds paired; nothing where there is one, or three."""
    from analysis.sources.paired import paired

    if len(found.sweep.parts) != 2:
        return Findings()
    a, b = (replace(part, name=label) for label, part in found.sweep.parts.items())
    compared = paired(a, b)
    said = [captions.printable(line) for line in compared.lines()]
    sections = [("Two sweeps, cell by cell", _paragraph(said))]
    tables = {"differences": compared.cells, "differences_by_pair": compared.pairs}
    return Findings(Extras(sections=sections, compared=compared), tables, lines=said)
