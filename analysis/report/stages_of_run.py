"""The stages of the runs reported on: bands for figures, tables of boundaries, several runs in one figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt

from analysis.report import style
from analysis.report.blocks import Figure, Section, Table, Text
from analysis.report.over_time import Band
from analysis.report.words import steps
from analysis.stages.result import MEANINGS, Boundary, Stages, Status, stage_bands
from analysis.sweep_page.curves_chart import STAGES

BY_RULE = "Stages by rule (Nanda et al. 2023, section 5.2, put them in by eye)."
ENDS = {"step": "from", "end": "to"}


def bands(stages: Stages | None) -> list[Band]:
    return [] if stages is None else stages.bands()


def section(stages: Stages | None) -> Section | None:
    """Every boundary with its interval and what decided it."""
    if stages is None:
        return None
    rows = [
        (
            _named(name),
            found.status.value,
            _step(found.step),
            _interval(found.low, found.high),
            found.decided_by,
        )
        for name, found in stages.boundaries.items()
    ]
    caption = f"{BY_RULE} In {stages.confidence:.0%} of the draws the four boundaries are found in this order."
    head = ("boundary", "", "step", "90 % interval", "decided by")
    return Section("Stages", [Table(head, rows, caption, (2, 3)), Text(stages.decided_by, quiet=True)])


def _named(boundary: str) -> str:
    return f"{boundary}: {MEANINGS[boundary]}"


def _step(step: int | None) -> str:
    return "–" if step is None else steps(step)


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{steps(round(low))} to {steps(round(high))}"


# --- several runs -------------------------------------------------------------------------------------------


def side_by_side(found: Mapping[str, Stages], colours: Mapping[str, str]) -> Section | None:
    """Every run's stages in one figure and one table; None where no run has any.

    Args:
        found: by the run's label, those that have logged rows.
        colours: of each run's curves, by its label.
    """
    if not found:
        return None
    names = dict.fromkeys(name for stages in found.values() for name in stages.boundaries)
    rows = [(_named(name), *(_with_interval(each.boundaries.get(name)) for each in found.values())) for name in names]
    rows.append(("found in this order, share of draws", *(f"{stages.confidence:.0%}" for stages in found.values())))
    caption = (
        f"{BY_RULE} Steps, with 90 % intervals where the boundary is found; what decided it stands in each run's own "
        "report."
    )
    said = "The runs' stages, framed in the colours of their curves; whiskers are the boundaries' 90 % intervals."
    figure = Figure("stages", style.styled(_strips(found, colours)), said, "Stages of the runs, one below the other")
    return Section("Stages", [figure, Table(("boundary", *found), rows, caption)])


def _with_interval(found: Boundary | None) -> str:
    """7,079 (6,813 to 7,244); not yet."""
    if found is None:
        return "–"
    if found.status is not Status.found:
        return found.status.value
    return f"{_step(found.step)} ({_interval(found.low, found.high)})"


def _strips(found: Mapping[str, Stages], colours: Mapping[str, str]) -> Any:
    """A strip of bands a run over the axis of steps."""
    each = [(label, band) for label, stages in found.items() for band in stage_bands(stages) if band.stop > 1]
    bands = [{"run": label, "stage": b.stage.value, "step": max(b.start, 1), "end": b.stop} for label, b in each]
    whiskers = [{"run": label, "step": b.low, "end": b.high} for label, b in each if b.low is not None]
    names = [name for name in STAGES if any(band["stage"] == name for band in bands)]
    fill = alt.Fill(
        field="stage", type="nominal", sort=names, legend=alt.Legend(title=None, orient="top", columns=3),
        scale=alt.Scale(domain=names, range=[STAGES[name] for name in names]),
    )  # fmt: skip
    tips = [alt.Tooltip(field=name, type="nominal") for name in ("run", "stage")]
    tips += [alt.Tooltip(field=name, type="quantitative", format=",d", title=word) for name, word in ENDS.items()]
    strips = alt.Chart(alt.Data(values=bands)).mark_bar(height=14, clip=True).encode(fill=fill, tooltip=tips)
    ends = alt.Chart(alt.Data(values=whiskers)).mark_rule(strokeWidth=2, clip=True)
    frames = alt.Scale(domain=list(colours), range=list(colours.values()))
    shared = {
        "x": style.step_axis(max(stages.last_step for stages in found.values())),
        "x2": alt.X2(field="end"),
        "y": alt.Y(field="run", type="nominal", sort=list(found), axis=alt.Axis(title=None, labelLimit=240)),
        "stroke": alt.Stroke(field="run", type="nominal", scale=frames, legend=None),
    }
    layers = [layer.encode(**shared) for layer in ([strips, ends] if whiskers else [strips])]
    return alt.layer(*layers).properties(width=style.WIDTH, height=alt.Step(24))
