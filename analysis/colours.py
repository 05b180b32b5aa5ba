"""What the cells of a map can be coloured by: phases, times, shares, measures, differences. Pure.

A colour knows its title, what the reader must be told under it, its scale, and how each cell is painted.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from analysis import labels, legends, measured, scales
from analysis.captions import rule_parts
from analysis.labels import Cell, steps_text
from analysis.looks import COLOURED, NO_VALUE, NOT_REACHED, Size
from analysis.scales import Scale

DEFAULT = ("phase", "t_test")


@dataclass(frozen=True)
class Colour:
    """One way to colour the cells.

    Attributes:
        key: its name on the command line and in the page's address: "t_test", "final.test_loss".
        heading, label: where it stands in a list of colours.
        title: of the map; notes: the lines under it.
        scale: from numbers to colours; None where a cell shows an outcome, or no cell has a number.
        look: of a cell; COLOURED where `value` is a number.
        value: of a cell, a number or None.
        lines: the words in a cell.
        meanings: entries of the legend that differ for this colour.
        how: of a measure, how its value is taken of a run: "at the end".
    """

    key: str
    heading: str
    label: str
    title: str
    notes: tuple[str, ...]
    scale: Scale | None
    look: Callable[[Cell], str]
    value: Callable[[Cell], float | None]
    lines: Callable[[Cell, Size], list[str]]
    unit: str = ""
    meanings: Mapping[str, str] = field(default_factory=dict)
    how: str = ""


def colours(runs: pl.DataFrame, cells: pl.DataFrame, step: int | None = None) -> dict[str, Colour]:
    """Every colour that this sweep's cells can have, by its key.

    Args:
        runs: a row a run.
        cells: the table of cells, with the quartiles of measures beside it (analysis.measured).
        step: at which the at. measures were taken.
    """
    several = any(n > 1 for n in cells["n_runs"].to_list())
    found = [_outcome(several)]
    if "phase_scale_free" in runs.columns and runs["phase_scale_free"].null_count() < runs.height:
        found.append(_scale_free(several))
    found += [_time(name, cells, several) for name in TIMES]
    found.append(_share(runs, several))
    taken = [f"{how}.{name}" for how in measured.TAKEN for name in measured.measures(runs)]
    found += [_measure(name, runs, cells, step, several) for name in taken if f"{name}_median" in cells.columns]
    return {colour.key: colour for colour in found}


def chosen(name: str, known: Mapping[str, Colour]) -> str:
    """The key that a word on the command line stands for: a key, or a measure's name for its last value.

    Raises:
        ValueError: nothing of this sweep's is called so.
    """
    for key in (name, f"final.{name}"):
        if key in known:
            return key
    words = [*known, *(key.partition(".")[2] for key in known)]
    near = [*(word for word in words if name and name in word), *difflib.get_close_matches(name, words, n=1)]
    meant = f"did you mean {near[0]}? " if near and near[0] else ""
    plain = ", ".join(key for key in known if "." not in key)
    raise ValueError(
        f"--colour: nothing to colour by is called {name}; {meant}Known: {plain}, and final., min., max. or at. "
        "before the name of a measure that the runs have"
    )


def _median(name: str) -> Callable[[Cell], float | None]:
    return lambda cell: cell[f"{name}_median"]


def _of_the_runs(several: bool, more: str = "") -> tuple[str, ...]:
    return (f"median of the runs, and quartiles where there is room{more}",) if several else ()


# --- phases -------------------------------------------------------------------------------------------------


def _outcome(several: bool) -> Colour:
    notes = ("by the rule of Liu et al." + ("; the most frequent; n/m: n of m runs" if several else ""),)
    return Colour(
        "phase", "Phases", "phase", "Phase", notes, None,
        lambda cell: cell["outcome"], lambda _: None, labels.phase_lines,
    )  # fmt: skip


def _scale_free(several: bool) -> Colour:
    notes = ("the most frequent; n/m: n of m runs",) if several else ()
    return Colour(
        "phase_scale_free", "Phases", "phase_scale_free", "Phase, free of scale", notes, None,
        lambda cell: cell["outcome_scale_free"], lambda _: None,
        lambda cell, size: labels.phase_lines(cell, size, "_scale_free"), meanings=legends.scale_free_legend(),
    )  # fmt: skip


# --- times --------------------------------------------------------------------------------------------------

TIMES = {
    "t_test": "t_test",
    "t_train": "t_train",
    "t_novel": "t_novel: pairs of which neither order was trained on",
    "grok_delay": "grok_delay = t_test − t_train",
}
COUNTS = {"t_test": "generalised", "t_train": "fitted", "t_novel": "generalised", "grok_delay": "generalised"}


def _time(name: str, cells: pl.DataFrame, several: bool) -> Colour:
    known = cells[f"{name}_median"].drop_nulls().to_list()
    what = TIMES[name].partition(": ")
    notes = (*_of_the_runs(several, f"; n/m: n of m {COUNTS[name]}"), *([what[2]] if what[2] else []))
    return Colour(
        name, "Times", name, f"{what[0]} (steps)", notes, scales.times(known) if known else None,
        lambda cell: labels.time_look(cell, name), _median(name),
        lambda cell, size: labels.time_lines(cell, size, name), "steps",
        {"beyond": legends.beyond_legend(name, several=several)},
    )  # fmt: skip


def _share(runs: pl.DataFrame, several: bool) -> Colour:
    accuracy = rule_parts(runs)["accuracy"]
    notes = (f"runs with test accuracy > {accuracy}, of those that are done", *lengths(runs))
    return Colour(
        "share_generalised", "Shares", "share_generalised", "Share of the runs that generalised",
        notes if several else notes[:1], scales.shares(), _share_look, lambda cell: cell["share_generalised"],
        lambda cell, size: labels.share_lines(cell, size, _share_look(cell)), "", NOT_DONE,
    )  # fmt: skip


def _share_look(cell: Cell) -> str:
    return COLOURED if cell["n_done"] else _unfinished(cell)


def lengths(runs: pl.DataFrame) -> tuple[str, ...]:
    """What must be said where runs that are done ended at different steps: nothing where they did not."""
    ends = runs.filter(pl.col("state") == "done")["steps"].drop_nulls()
    low, high = ends.min(), ends.max()
    if not isinstance(low, int) or not isinstance(high, int) or low == high:
        return ()
    return (f"runs ended at different steps: {steps_text(low)} to {steps_text(high)}",)


# --- measures -----------------------------------------------------------------------------------------------

HOW = {"final": "at the end", "min": "at its least", "max": "at its most", "at": "at step {step}"}
"""By the word that --colour takes before a measure's name."""
UNITS = {"key_gap": "decades", "spectral_entropy_W_E": "nats"}


def unit(name: str) -> str:
    """nats, share, decades; "" where it has none, or none that is known."""
    whole = name.partition(".")[0]
    if whole in UNITS or whole == "objective" or whole.endswith("_loss"):
        return UNITS.get(whole, "nats")
    line = measured.described(name)
    return "share" if line is not None and line.scale == "logit" else ""


def _measure(key: str, runs: pl.DataFrame, cells: pl.DataFrame, step: int | None, several: bool) -> Colour:
    how, _, name = key.partition(".")
    line, known = measured.described(name), cells[f"{key}_median"].drop_nulls().to_list()
    said = HOW[how].format(step=steps_text(step) if step is not None else "?")
    title = f"{name} {said}" + (f" ({unit(name)})" if unit(name) else "")
    notes = [line.meaning] if line is not None else []
    notes += _of_the_runs(several, " that are done" if how != "at" else "")
    notes += lengths(runs) if how != "at" else [f"the last row at or before step {said.split()[-1]}"]
    heading = "Sums of squares by parameter" if name.startswith("sum_sq.") else "Measures"
    return Colour(
        key, heading, name, title, tuple(notes), _scale(name, known), lambda cell: _look(cell, key), _median(key),
        lambda cell, size: labels.measure_lines(cell, size, key, _look(cell, key)), unit(name), NOT_DONE,
        said,
    )  # fmt: skip


def _scale(name: str, values: Sequence[float]) -> Scale | None:
    """On the scale that the table of measures gives; log only for positive values over more than a factor 2."""
    if not values:
        return None
    line = measured.described(name)
    if name.endswith("_acc"):
        return scales.shares()
    is_log = line is not None and line.scale == "log" and min(values) > 0 and max(values) > 2 * min(values)
    return scales.log(values) if is_log else scales.linear(values)


def _look(cell: Cell, key: str) -> str:
    """COLOURED, or why there is no value: no run is done, none has come so far, or none has one."""
    if cell[f"{key}_n"]:
        return COLOURED
    if not key.startswith("at."):
        return NO_VALUE if cell["n_done"] else _unfinished(cell)
    if cell["n_reached"]:
        return NO_VALUE
    standing = cell["n_done"] + cell["n_running"] + cell["n_interrupted"]
    return NOT_REACHED if standing else cell["outcome"]


def _unfinished(cell: Cell) -> str:
    """The look of a cell without a run that is done: how far it has got, also where its phase is known."""
    if cell["n_running"]:
        return "running"
    return "interrupted" if cell["n_interrupted"] else cell["outcome"]


NOT_DONE = {
    "running": "running: no run is done yet",
    "interrupted": "interrupted: no run is done; goes on when asked for again",
}


def painted(colour: Colour, cells: Sequence[Cell], size: Size) -> list[dict[str, Any]]:
    """look, value (a number where the look is COLOURED) and lines of every cell."""
    found = []
    for cell in cells:
        look = colour.look(cell)
        value = colour.value(cell) if look == COLOURED else None
        lines = [] if size.words == "none" else colour.lines(cell, size)
        found.append({"look": look, "value": value, "lines": lines})
    return found
