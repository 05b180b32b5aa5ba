"""Sections as text for a terminal: sentences wrapped, tables aligned. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from analysis.aligned import aligned
from analysis.report.blocks import Section, Table, Text

WIDTH = 110


def text(sections: Iterable[Section]) -> str:
    """What the sections say, without their figures."""
    return "\n".join(line for section in sections for line in _section(section)).strip("\n")


def _section(section: Section) -> Iterator[str]:
    yield from ("", section.title.upper())
    for block in section.blocks:
        if isinstance(block, Text):
            yield from textwrap.wrap(block.text, WIDTH)
        elif isinstance(block, Table):
            yield ""
            yield from aligned([block.head, *block.rows], block.numbers)
            yield from textwrap.wrap(block.caption, WIDTH, initial_indent="  ", subsequent_indent="  ")
