"""The stages of the run that is reported on: bands for its figures, a table of its boundaries."""

from __future__ import annotations

from typing import Any

from analysis.report.blocks import Section, Table, Text
from analysis.report.over_time import Band
from analysis.report.words import steps
from analysis.stages.result import MEANINGS


def bands(stages: Any) -> list[Band]:
    return [] if stages is None else stages.bands()


def section(stages: Any) -> Section | None:
    """Every boundary with its interval and what decided it."""
    if stages is None:
        return None
    rows = [
        (
            f"{name}: {MEANINGS[name]}",
            found.status.value,
            _step(found.step),
            _interval(found.low, found.high),
            found.decided_by,
        )
        for name, found in stages.boundaries.items()
    ]
    caption = (
        f"Stages by rule (Nanda et al. 2023, section 5.2, put them in by eye). In {stages.confidence:.0%} of the "
        "draws the four boundaries are found in this order."
    )
    head = ("boundary", "", "step", "90 % interval", "decided by")
    return Section("Stages", [Table(head, rows, caption, (2, 3)), Text(stages.decided_by, quiet=True)])


def _step(step: int | None) -> str:
    return "–" if step is None else steps(step)


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{steps(round(low))} to {steps(round(high))}"
