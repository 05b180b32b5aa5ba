"""What is said of a run's stages, and the bands that a figure draws of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

BOUNDARIES = ("B0", "B1", "B2", "B3")
MEANINGS = {
    "B0": "train pairs fitted",
    "B1": "end of memorization",
    "B2": "start of cleanup",
    "B3": "end of cleanup",
}


class Status(Enum):
    """found; not yet: the run ended before it; absent: what comes after it was reached without it; not separable:
    the stages on its two sides overlap."""

    found = "found"
    not_yet = "not yet"
    absent = "absent"
    not_separable = "not separable"


class Stage(Enum):
    """A stretch of one run. Two stages without a separable boundary are one stretch.

    untold: the run generalised, and no boundary after B0 is found.
    """

    memorization = "memorization"
    memorization_so_far = "memorization so far"
    untold = "generalised, stages not told"
    memorization_and_circuit = "memorization and circuit formation"
    circuit_formation = "circuit formation"
    cleanup = "cleanup"
    after_cleanup = "after cleanup"


@dataclass(frozen=True)
class Boundary:
    """One boundary of a run.

    Attributes:
        step: the logged step at which the rule finds it; None where it is neither found nor "not separable".
        low, high: ends of the 90 % interval (steps); None where `step` is.
        share: of draws in which the rule finds it.
        decided_by: the measure, and where it stood.
    """

    status: Status
    step: int | None
    low: float | None
    high: float | None
    share: float
    decided_by: str


@dataclass(frozen=True)
class Stages:
    """A run's stages.

    Attributes:
        boundaries: B0 (train accuracy), B1 (end of memorization), B2 and B3 (start and end of cleanup).
        confidence: share of draws with B0 < B1 < B2 < B3; 0 for a run that has not come to B3.
        last_step: of the rows.
        decided_by: what decided them, in sentences.
        generalised: t_test, where test accuracy stayed above the threshold for two rows; else None.
    """

    boundaries: Mapping[str, Boundary]
    confidence: float
    last_step: int
    decided_by: str
    generalised: int | None = None

    def bands(self) -> list[tuple[str, float, float]]:
        """(stage, from, to) in steps, from 0 to the last step without a hole."""
        return [(band.stage.value, band.start, band.stop) for band in stage_bands(self)]


@dataclass(frozen=True)
class Band:
    """A stage as a figure draws it: from `start` to `stop` (steps).

    Attributes:
        boundary: which boundary ends it; None for the last band, which the run's end cuts off.
        low, high: that boundary's 90 % interval.
    """

    stage: Stage
    start: float
    stop: float
    boundary: str | None = None
    low: float | None = None
    high: float | None = None


def stage_bands(stages: Stages) -> list[Band]:
    """The run from step 0 to its end, as stages one after the other."""
    found = _found(stages.boundaries)
    if not is_told(stages.boundaries):
        stage = Stage.memorization_so_far if stages.generalised is None else Stage.untold
        return [Band(stage, 0, stages.last_step)]
    ends = [
        (Stage.memorization, "B1"),
        (Stage.circuit_formation if "B1" in found else Stage.memorization_and_circuit, "B2"),
        (Stage.cleanup, "B3"),
    ]
    bands, start, stage = [], 0.0, Stage.memorization
    for stage, name in ends:
        if name not in found:
            if name == "B1":
                continue
            return [*bands, Band(stage, start, stages.last_step)]
        end = stages.boundaries[name]
        assert end.step is not None
        bands.append(Band(stage, start, end.step, name, end.low, end.high))
        start = end.step
    return [*bands, Band(Stage.after_cleanup, start, stages.last_step)]


def is_told(boundaries: Mapping[str, Boundary]) -> bool:
    """Whether a boundary after B0 parts the run."""
    return bool(_found(boundaries) & {"B1", "B2"})


def _found(boundaries: Mapping[str, Boundary]) -> set[str]:
    return {name for name, one in boundaries.items() if one.status is Status.found}
