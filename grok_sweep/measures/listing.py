"""The table of measures as it stands in docs/measures.md. Pure: the command that renews the document stands there."""

from __future__ import annotations

from collections.abc import Mapping

from grok_sweep.measures.table import ALWAYS, HINDSIGHT, HINDSIGHT_K, MEASURES, OTHER_KEYS, Measure, keys_of

BEGIN, END = "<!-- table: generated -->", "<!-- end of the table -->"
_HEAD = ("name", "what it is", "sees", "key frequencies", "direction", "scale", "defined with", "source")


def markdown() -> str:
    """Three tables: what every row holds, what measures.names chooses from, what a second pass adds."""
    hindsight = {name: _in_hindsight(name, of) for name, of in HINDSIGHT.items()}
    parts = [
        "### In every row, where there are such pairs\n\n" + _table(ALWAYS),
        "### Chosen by `measures.names`\n\n" + _table(MEASURES),
        "### After a run, with the final network's key frequencies\n\n" + _table(hindsight),
    ]
    return "\n\n".join(parts)


def renewed(document: str) -> str:
    """The document with the present table between its two marks."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the table stands between the lines {BEGIN} and {END}: the document lacks one")
    return f"{before}{BEGIN}\n\n{markdown()}\n\n{END}{after}"


def _in_hindsight(name: str, of: str) -> Measure:
    line, other = MEASURES[of], OTHER_KEYS.get(keys_of(name), "")
    meaning = f"{of} with the key frequencies of the last step{', ' * bool(other)}{other}"
    return Measure(line.function, meaning, line.sees, line.source, HINDSIGHT_K, "", line.scale, line.needs)


def _table(lines: Mapping[str, Measure]) -> str:
    """One row a line; a column that says the same of all is left out."""
    rows = [_cells(name, line) for name, line in lines.items()]
    telling = [i for i in range(len(_HEAD)) if len({row[i] for row in rows}) > 1]
    shown = [_HEAD, ["---"] * len(_HEAD), *rows]
    return "\n".join("| " + " | ".join(row[i].replace("|", "\\|") for i in telling) + " |" for row in shown)


def _cells(name: str, line: Measure) -> list[str]:
    needs = ", ".join(sorted(line.needs)) or "every task and network"
    meaning = line.meaning + (" (a list)" if line.is_vector else "")
    return [f"`{name}`", meaning, line.sees, line.kind, line.direction or "–", line.scale, needs, line.source]
