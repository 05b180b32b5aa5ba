"""The page of a sweep as one file that loads nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from analysis import captions, commands, contours, curves, tooltips
from analysis.axes import NUMERICAL, value_text
from analysis.page import head, inline_json, library
from analysis.sweep_figure import Drawing
from analysis.sweep_page import content, runs
from analysis.sweep_page.curves_chart import STAGES, curve_spec
from grok_sweep.phases import SCALE_FREE_RATIO

HERE = Path(__file__).parent
SCRIPTS = ("choices.js", "maps.js", "cell.js")
"""In one scope, in this order."""
LIVE_STATES = ("running", "interrupted", "planned")


def html(drawn: Drawing, folder: Path) -> str:
    """The page, for a place in this folder."""
    found = drawn.found
    sections, charts = _sections(drawn.extras.sections)
    title = escape(found.title)
    parts = {
        "head": head(title, (HERE / "page.css").read_text(), library()),
        "title": title,
        "sentences": "\n".join(f"<p>{escape(text)}</p>" for text in captions.subtitle(found.runs, found.names)),
        "times": escape(_times(found.runs)),
        "where": escape("given in the project's folder"),
        "sections": sections,
        "shared": _shared(found.runs),
        "footer": escape(_footer(drawn)),
        "content": inline_json(_content(drawn, folder) | {"sections": charts}),
        "script": "\n".join((HERE / name).read_text() for name in SCRIPTS),
    }
    return _filled((HERE / "page.html").read_text(), parts)


def _filled(template: str, parts: Mapping[str, str]) -> str:
    """The template with %(name)s replaced; what is put in is not looked at again."""
    pieces = template.split("%(")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition(")s")
        filled += [parts[name], rest]
    return "".join(filled)


def _content(drawn: Drawing, folder: Path) -> dict[str, Any]:
    found, table, settings = drawn.found, drawn.cells, list(drawn.settings.values())
    every = {run["run_id"]: run for run in found.runs.select(_for_tooltips(found.runs)).to_dicts()}
    number = {run_id: i for i, run_id in enumerate(every)}
    tips = [_tip(cell, [every[run_id] for run_id in cell["run_ids"]]) for cell in table]
    words = commands.alone(found.sweep)
    shared = _in_all(list(words.values()))
    own = {run_id: [word for word in each if word not in shared] for run_id, each in words.items()}
    panels = curves.shown(found.rows)
    return {
        "start": _start(drawn),
        "settings": content.settings(settings),
        "cells": content.cells(table, settings, number, tips),
        "colours": [content.colour(each, table, content.sizes(settings)) for each in drawn.known.values()],
        "meanings": content.meanings(found.runs, drawn.several),
        "boundary": content.boundary(drawn.extras.boundary, settings),
        "boundary_note": f"{contours.NOTE} {contours.SHADED}",
        "runs": runs.described(found.runs, runs.last_key_freqs(found.rows), own, _reports(drawn, folder)),
        "run_heads": runs.HEADS,
        "curves_note": _curves_note(found.runs, drawn.extras.stages, panels),
        "command": {"start": " ".join([commands.START, *shared]) if words else ""},
        "panels": {title: list(names) for title, (_, names) in panels.items()},
        "curve_spec": curve_spec(panels, _accuracy(found.runs), _stage_names(drawn)),
        **content.maps(settings),
        **runs.content(found.rows, drawn.extras.stages),
    }


def _start(drawn: Drawing) -> dict[str, str]:
    """What is chosen as the page opens."""
    found, chosen = drawn.found, (*drawn.chosen, "")
    first = {name: drawn.settings[name].texts[drawn.first(name)] for name in found.others}
    boundary = content.opening(drawn.extras.boundary)
    axes = {"x": found.x, "y": found.y or ""}
    return (
        axes
        | {"left": chosen[0], "right": chosen[1], "boundary": boundary, "cell": "", "run": "", "steps": "log"}
        | first
    )


def _for_tooltips(found: pl.DataFrame) -> list[str]:
    return [name for name in runs.NEEDED if name in found.columns]


def _tip(cell: Mapping[str, Any], of_cell: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {title: captions.printable_lines(text) for title, text in tooltips.tooltip(cell, of_cell).items()}


def _in_all(words: Sequence[Sequence[str]]) -> list[str]:
    """The words that every run's command has."""
    if not words:
        return []
    common = set(words[0]).intersection(*words[1:])
    return [word for word in words[0] if word in common]


def _accuracy(found: pl.DataFrame) -> float | None:
    values = set(found["phases.accuracy"].to_list()) if "phases.accuracy" in found.columns else set()
    return values.pop() if len(values) == 1 else None


def _stage_names(drawn: Drawing) -> list[str]:
    found = dict.fromkeys(band[0] for bands in drawn.extras.stages.values() for band in bands)
    return [*(name for name in STAGES if name in found), *(name for name in found if name not in STAGES)]


def _reports(drawn: Drawing, folder: Path) -> dict[str, str]:
    """run_id -> the address of its report, from the page's folder."""
    found = {}
    for run_id in drawn.found.runs["run_id"].to_list():
        report = drawn.found.sweep.path / run_id / "report.html"
        if report.exists():
            found[run_id] = "./" + quote(os.path.relpath(report, folder))
    return found


def _times(found: pl.DataFrame) -> str:
    accuracy = captions.rule_parts(found)["accuracy"]
    return (
        f"Times in steps: the first logged step with accuracy > {accuracy}, in brackets the last one before; > N: "
        f"not within the N steps run. Free of scale, grokking is t_test / t_train ≥ {SCALE_FREE_RATIO:g}. Losses in "
        "nats. A run's name is a link where its report was made."
    )


def _curves_note(found: pl.DataFrame, stages: Mapping[str, Any], panels: Mapping[str, Any]) -> str:
    accuracy = captions.rule_parts(found)["accuracy"]
    bands = " Shaded: the stages of one run, which its button chooses." if stages else ""
    is_hindsight = any(name in curves.HINDSIGHT for _, names in panels.values() for name in names)
    final = (
        " restricted_loss and excluded_loss take each step's own key frequencies; dashed, _final: with those of the "
        "final network, known only in hindsight."
        if is_hindsight
        else ""
    )
    return f"A line for each run; level and dotted: the accuracy {accuracy} of t_train and t_test.{bands}{final}"


def _shared(found: pl.DataFrame) -> str:
    """Rows of a table: every setting that has one value in all runs."""
    names = [name for name in found.columns if name.startswith(NUMERICAL) or name in ("loss", "n_steps")]
    names += [name for name in found.columns if name.startswith(("phases.", "measures.", "stop."))]
    rows = []
    for name in names:
        values = found[name].unique().to_list()
        if len(values) == 1:
            text = escape(captions.printable(value_text(values[0])))
            rows.append(f'<tr><th scope="row">{escape(name)}</th><td>{text}</td></tr>')
    return "\n".join(rows)


def _footer(drawn: Drawing) -> str:
    found = drawn.found
    live = found.runs.filter(pl.col("state").is_in(LIVE_STATES)).height
    state = f" {live} runs are not done yet: made again, this page will show more." if live else ""
    return f"Made by .venv/bin/python -m analysis sweep from {found.runs.height} runs.{state}"


def _sections(given: Sequence[tuple[str, Any]]) -> tuple[str, dict[str, Any]]:
    """The sections as HTML, and the charts among them by the id of their place."""
    parts, charts = [], {}
    for i, (title, what) in enumerate(given):
        body = what if isinstance(what, str) else f'<div id="section{i}"></div>'
        if not isinstance(what, str):
            charts[f"section{i}"] = what
        parts.append(f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>")
    return "\n".join(parts), charts
