"""A run's settings as the words of a command line that asks for the same run. No Hydra, no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grok_sweep.config import RunConfig, flat, from_flat, resolved
from grok_sweep.sweep.command_line import SHORTHANDS

CHOSEN_IN_CONF = ("measures.names", "sweep", "root")
"""Given always: conf/config.yaml chooses other values than the dataclasses, or the folder decides."""
DEFAULT_MEASURES = "nanda"
"""conf/config.yaml's choice."""
DERIVED = ("model.d_head", "model.d_mlp", "optimizer.decay")
"""Filled in from other settings where they are null."""


def differing(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are not what a command without any gives: with these, launch.py asks for the same run."""
    defaults = flat(RunConfig())
    given = {
        name: value
        for name, value in settings.items()
        if name in CHOSEN_IN_CONF or name not in defaults or value != defaults[name]
    }
    for name in DERIVED:
        without = {n: v for n, v in given.items() if n != name}
        if name in given and _resolved(without).get(name) == given[name]:
            given = without
    return given


def _resolved(given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return flat(resolved(from_flat(given)))
    except ValueError:  # a setting of another version: nothing is left out
        return {}


def words_alone(settings: Mapping[str, Any], choices: Mapping[str, Sequence[str]]) -> list[str]:
    """What launch.py is given to train the run with these settings alone; not yet quoted for a shell.

    Args:
        choices: conf/measures, as `measure_choices` reads it.
    """
    given = differing(settings)
    if given.get("root") == "runs":
        del given["root"]
    names = list(given.get("measures.names", []))
    chosen = next((choice for choice, held in choices.items() if list(held) == names), None)
    if chosen is not None:
        del given["measures.names"]
    return ([] if chosen in (None, DEFAULT_MEASURES) else [f"measures={chosen}"]) + as_words(given)


def measure_choices(conf: Path) -> dict[str, list[str]]:
    """The files of conf/measures that hold a list of names and nothing else: choice -> names."""
    found = {}
    for file in sorted((conf / "measures").glob("*.yaml")):
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
        if lines == ["names: []"]:
            found[file.stem] = []
        elif lines[:1] == ["names:"] and all(line.startswith("  - ") for line in lines[1:]):
            found[file.stem] = [line.removeprefix("  - ") for line in lines[1:]]
    return found


def as_words(given: Mapping[str, Any]) -> list[str]:
    """name=value each, in Hydra's grammar, under shorthands where there are any; not yet quoted for a shell."""
    left, words = dict(given), []
    for short, targets in SHORTHANDS.items():
        values = [left.get(target) for target in targets]
        if all(target in left for target in targets) and all(value == values[0] for value in values):
            words.append(f"{short}={value_word(values[0])}")
            left = {name: value for name, value in left.items() if name not in targets}
    return words + [f"{name}={value_word(value)}" for name, value in left.items()]


def value_word(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(map(value_word, value)) + "]"
    if isinstance(value, int | float):
        return repr(value)
    return value if _is_plain(value) else "'" + re.sub(r"(\\*)'", r"\1\1\\'", value) + "'"


def _is_plain(text: str) -> bool:
    """Whether Hydra reads these letters as a string, as they are."""
    looks_else = text.lower() in ("null", "true", "false", "nan", "inf") or re.fullmatch(r"[+-]?[\d._]*(e\d+)?", text)
    return re.fullmatch(r"[\w./@+-]+", text, re.ASCII) is not None and not looks_else
