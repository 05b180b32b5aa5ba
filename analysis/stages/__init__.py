"""Stages of a run: memorization, circuit formation, cleanup (Nanda et al. 2023, section 5.2), by rule. Pure.

The paper's boundaries were put in by eye; these are found by rule, each with an interval, and the whole with the
share of draws in which the order holds. `find_stages` is what callers need; `rule` holds the definition.
"""

from analysis.stages.evidence import Evidence, Series, gather
from analysis.stages.find import find_stages, stages_of_evidence
from analysis.stages.result import Band, Boundary, Stage, Stages, Status, stage_bands

__all__ = [
    "Band",
    "Boundary",
    "Evidence",
    "Series",
    "Stage",
    "Stages",
    "Status",
    "find_stages",
    "gather",
    "stage_bands",
    "stages_of_evidence",
]
