"""How a cell of a map looks: colours, hatches, frames and sizes. Pure; knows no plotting library.

Colours are Okabe and Ito's (told apart by colour-blind readers), ordered so that the four phases also differ in
lightness (89, 69, 54, 29 of 100) and survive a grey print. Every cell bears a word as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

DARK, LIGHT, GREY = "#1a1a1a", "#ffffff", "#8c8c8c"
BEYOND = "beyond"
"""Look of a cell in a map of times: censored, known only to be later than the steps run."""
BOUND = "bound"
"""Look of a cell in a map of differences: known only to be larger or smaller than something."""
COLOURED, COLOURED_DARK = "coloured", "coloured_dark"
"""Looks of a cell whose colour is its value; the second is so dark that words on it are light."""
NO_VALUE, NOT_REACHED = "no_value", "not_reached"
"""Looks of a cell in a map of a measure: no run has a value; no run has come to the common step."""


@dataclass(frozen=True)
class Look:
    """Appearance of one outcome.

    Attributes:
        texture: "hatch" for censored outcomes, "cross" for diverged runs, else "".
        line: colour of the texture and the frame; "" for neither.
        dash: lengths of strokes and gaps of the frame; () for a solid one; None for no frame.
        ink: colour of the words on it.
    """

    fill: str
    texture: str = ""
    line: str = ""
    dash: tuple[float, ...] | None = None
    ink: str = DARK


LOOKS: dict[str, Look] = {
    "comprehension": Look("#F0E442"),
    "grokking": Look("#56B4E9"),
    "memorization": Look("#D55E00"),
    "memorization_so_far": Look("#FBE6D8", "hatch", "#D55E00"),
    "confusion": Look("#444444", ink=LIGHT),
    "confusion_so_far": Look("#ECECEC", "hatch", "#444444"),
    "mixed": Look("#CC79A7"),
    "running": Look(LIGHT, line="#0072B2", dash=(6, 3)),
    "interrupted": Look(LIGHT, line="#8A5A00", dash=(9, 3, 2, 3)),
    "planned": Look(LIGHT, line=GREY, dash=(1, 3), ink="#6b6b6b"),
    "diverged": Look(LIGHT, "cross", DARK, ()),
    "failed": Look("#000000", ink=LIGHT),
    "no_run": Look("#f7f7f7", ink=GREY),
    BEYOND: Look("#F2F2F2", "hatch", GREY),
    NOT_REACHED: Look("#E3ECF2", "hatch", "#7FA3B8"),
    BOUND: Look("#F5EFF7", "hatch", "#A78BB5"),
    NO_VALUE: Look(LIGHT, line="#c4c4c4", dash=(), ink="#6b6b6b"),
    COLOURED: Look(""),
    COLOURED_DARK: Look("", ink=LIGHT),
}


@dataclass(frozen=True)
class Size:
    """Of a cell, in pixels: the step between cells, the font, and how long its words may be.

    `words` is "full", "short" (abbreviations) or "none".
    """

    step_x: int
    step_y: int
    font: int
    words: str

    @property
    def gap(self) -> int:
        return 4 if self.step_x > 30 else 2

    @property
    def width(self) -> int:
        return self.step_x - self.gap

    @property
    def height(self) -> int:
        return self.step_y - self.gap

    @property
    def line_height(self) -> int:
        return self.font + 2


def size_for(n_x: int, n_y: int) -> Size:
    """Cells as large as a map of n_x by n_y allows on a page."""
    most = max(n_x, n_y)
    if most <= (8 if n_y == 1 else 6):
        return Size(104, 64, 11, "full")
    if most <= 12:
        return Size(64, 44, 10, "short")
    if most <= 20:
        return Size(46, 30, 9, "short")
    return Size(24, 20, 7, "none") if most <= 40 else Size(15, 14, 7, "none")


# --- paths, in pixels about the cell's centre ---------------------------------------------------------------


def box(width: float, height: float, inset: float = 0.0) -> str:
    """SVG path of a rectangle."""
    w, h = width / 2 - inset, height / 2 - inset
    return f"M{-w:g},{-h:g}L{w:g},{-h:g}L{w:g},{h:g}L{-w:g},{h:g}Z"


def hatch(width: float, height: float, spacing: float = 9.0) -> str:
    """SVG path of rising diagonals that fill a rectangle and never leave it."""
    return "".join(
        f"M{x0:.4g},{c - x0:.4g}L{x1:.4g},{c - x1:.4g}" for c, x0, x1 in _diagonals(width, height, spacing)
    )


def _diagonals(width: float, height: float, spacing: float) -> Iterator[tuple[float, float, float]]:
    """(c, x from, x to) of the lines x + y = c inside the rectangle, one of them through its centre."""
    w, h = width / 2, height / 2
    n = int((w + h) / spacing)
    for i in range(-n, n + 1):
        c = i * spacing
        x0, x1 = max(-w, c - h), min(w, c + h)
        if x1 - x0 > 1e-9:
            yield c, x0, x1


def cross(width: float, height: float) -> str:
    """SVG path of both diagonals of a rectangle."""
    w, h = width / 2, height / 2
    return f"M{-w:g},{-h:g}L{w:g},{h:g}M{-w:g},{h:g}L{w:g},{-h:g}"


def texture(name: str, width: float, height: float) -> str:
    return hatch(width, height) if name == "hatch" else cross(width, height)
