"""A report as a page of Markdown: text and tables, figures as links. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from analysis.captions import printable
from analysis.report.blocks import Block, Figure, Listing, Report, Section, Table, Text


def markdown(report: Report, figures: Collection[str], prefix: str) -> str:
    """Title, facts, sections.

    Args:
        figures: names of those that are shown; the others are left out.
        prefix: of their files, <prefix><name>.svg.
    """
    facts = "; ".join(f"{name}: {value}" for name, value in report.facts)
    parts = [f"# {_text(report.title)}", _text(report.subtitle), f"{_text(facts)}."]
    parts += [part for section in report.sections for part in _section(section, figures, prefix)]
    return "\n\n".join(parts) + "\n"


def _section(section: Section, figures: Collection[str], prefix: str) -> Iterator[str]:
    blocks = [part for block in section.blocks for part in _block(block, figures, prefix)]
    if blocks:
        yield f"## {_text(section.title)}"
        yield from blocks


def _block(block: Block, figures: Collection[str], prefix: str) -> Iterator[str]:
    if isinstance(block, Text):
        yield _text(block.text)
    elif isinstance(block, Listing):
        yield "\n".join(f"    {line}" for line in block.text.splitlines())
    elif isinstance(block, Table):
        yield _table(block)
        if block.caption:
            yield _text(block.caption)
    elif isinstance(block, Figure) and block.name in figures:
        yield f"![{_text(block.spoken)}]({prefix}{block.name}.svg)"
        yield _text(block.caption)


def _table(table: Table) -> str:
    rule = ["---:" if i in table.numbers else "---" for i in range(len(table.head))]
    rows = [[_text(cell) for cell in row] for row in (table.head, *table.rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:]))


def _text(text: str) -> str:
    """Words with what Markdown would take for markup escaped."""
    for mark in ("\\", "|", "*", "_", "<", "`", "["):
        text = text.replace(mark, f"\\{mark}")
    return printable(text)
