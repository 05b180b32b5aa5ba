"""What a report is made of: sections of text, tables, listings and figures. Pure; knows neither HTML nor files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt


@dataclass(frozen=True)
class Text:
    """A paragraph; `quiet` for a note, such as why something is not shown."""

    text: str
    quiet: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head.

    Attributes:
        numbers: indices of the columns that are set flush right.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Listing:
    """Text to be copied or read as it is: a command, the end of a log."""

    text: str


@dataclass(frozen=True)
class Figure:
    """A figure with the name of its files.

    Attributes:
        caption: what it shows, how it was made and how to read it.
        spoken: one sentence for readers who cannot see it.
    """

    name: str
    chart: alt.TopLevelMixin
    caption: str
    spoken: str

    def spec(self) -> dict[str, Any]:
        return self.chart.to_dict()


Block = Text | Table | Listing | Figure


@dataclass(frozen=True)
class Section:
    """A part of a report under a title."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        return "part-" + re.sub("[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Report:
    """A page: title, a line under it, facts at a glance (name to value), sections; a stamp above each figure."""

    title: str
    subtitle: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    stamp: str = ""

    @property
    def figures(self) -> list[Figure]:
        return [block for section in self.sections for block in section.blocks if isinstance(block, Figure)]
