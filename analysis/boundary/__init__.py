"""The phase boundary: at which train fraction half of the seeds generalise within a budget of steps (DEFINITIONS 9).

`fit_boundary(runs)` fits the times of a sweep's runs. Its `table` is f_50 at three budgets, `contour` the line and
its bands for a figure, `lines` the table as text; `critical_fractions` says whether there is a fraction below which
no run would get there.
"""

from analysis.boundary.critical import critical_fractions
from analysis.boundary.drawing import contour
from analysis.boundary.events import Events, events
from analysis.boundary.fitted import Boundary, fit_boundary
from analysis.boundary.text import critical_lines, lines

__all__ = [
    "Boundary",
    "Events",
    "contour",
    "critical_fractions",
    "critical_lines",
    "events",
    "fit_boundary",
    "lines",
]
