"""Every setting with its default and meaning, as the dataclasses of config.py say it: for documents and terminals."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any, get_type_hints

from grok_sweep.config import RunConfig
from grok_sweep.sweep.command_line import SHORTHANDS, SweepOptions


def settings() -> Iterator[tuple[str, str, str]]:
    """(name as on the command line, default, meaning) of each setting of a run, then of each option of a sweep."""
    yield from _of(RunConfig, "")
    yield from _of(SweepOptions, "")


def markdown() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Each is given as `name=value` on the command line or in a YAML under `conf/`. Written from the docstrings",
        "of `grok_sweep/config.py` and `grok_sweep/sweep/command_line.py` by",
        "`python -m grok_sweep settings --markdown`.",
        "",
        "Shorthands: "
        + " · ".join(f"`{short}` = {' and '.join(f'`{t}`' for t in to)}" for short, to in SHORTHANDS.items()),
        "",
        "How a sweep uses the machine: `hydra.launcher.n_workers`, `n_threads`, `workers_per_gpu`.",
        "",
        "| setting | default | meaning |",
        "|---|---|---|",
    ]
    rows = (
        f"| `{name}` | `{default}` | {meaning.replace('|', chr(92) + '|')} |" for name, default, meaning in settings()
    )
    return "\n".join([*lines, *rows]) + "\n"


def _of(cls: type, prefix: str) -> Iterator[tuple[str, str, str]]:
    meanings, hints = _meanings(cls), get_type_hints(cls)
    for f in fields(cls):
        if is_dataclass(hints[f.name]):
            yield from _of(hints[f.name], f"{prefix}{f.name}.")
        else:
            default = f.default if f.default is not MISSING else f.default_factory()  # type: ignore[misc]
            yield prefix + f.name, shown(default), meanings[f.name]


def _meanings(cls: type) -> dict[str, str]:
    """The string under each field, on one line."""
    (found,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(found, ast.ClassDef)
    meanings: dict[str, str] = {}
    name = ""
    for node in found.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        ):
            meanings[name] = " ".join(node.value.value.split())
    return meanings


def shown(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
