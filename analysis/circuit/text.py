"""Sections as text for a terminal: sentences wrapped, tables aligned. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

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
            yield from _table(block)


def _table(table: Table) -> Iterator[str]:
    rows = [list(table.head), *map(list, table.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.head))]
    yield ""
    for row in rows:
        cells = [
            cell.rjust(width) if i in table.numbers else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
    yield from textwrap.wrap(table.caption, WIDTH, initial_indent="  ", subsequent_indent="  ")
