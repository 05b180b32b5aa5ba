"""The circuit's files: its page with figures, its numbers, its weights for others."""

from __future__ import annotations

import json
from pathlib import Path

from analysis.checkpoints import export
from analysis.checkpoints.checkpoint import Checkpoint, SplitRule
from analysis.circuit import page
from analysis.circuit.circuit import Circuit
from analysis.circuit.markdown import markdown
from analysis.circuit.of_checkpoint import source_of
from analysis.circuit.values import values
from analysis.page import figure_files
from analysis.report.blocks import Report
from analysis.report.stamp import stamped
from analysis.report.words import steps
from analysis.report.write import write
from analysis.sweep import require_writable
from grok_sweep.store import RunDir, write_atomic

OWN_FIGURES = ("verdict", "excluded_by_frequency", "ablations")


def as_json(checkpoint: Checkpoint, found: Circuit, command: str) -> str:
    """Where it comes from, and every number, flat and unrounded."""
    source = {
        "file": str(checkpoint.path),
        "layout": checkpoint.layout,
        "step": checkpoint.step,
        "operation": checkpoint.operation,
        "split_rule": str(SplitRule.of(checkpoint.data)) if checkpoint.data else None,
        "notes": list(checkpoint.notes),
        "command": command,
    }
    return json.dumps(source | values(found), indent=1)


def write_json(checkpoint: Checkpoint, found: Circuit, path: Path, command: str) -> list[Path]:
    write_atomic(path, (as_json(checkpoint, found, command) + "\n").encode())
    return [path]


def write_export(checkpoint: Checkpoint, path: Path) -> list[Path]:
    """The weights under TransformerLens's names. ValueError where it has no such network."""
    return export.write(checkpoint, path)


def report_of(checkpoint: Checkpoint, found: Circuit, command: str) -> Report:
    """Everything that is said of it.

    Args:
        command: what the page says made it.
    """
    when = "in this file" if checkpoint.step is None else f"at step {steps(checkpoint.step)}"
    source = page.source(checkpoint.notes, source_of(checkpoint), command)
    name = checkpoint.path.name
    stamp = f"{name}: {checkpoint.operation} mod {checkpoint.p}, {when}"
    return page.page(found, f"The circuit of {name}", f"{checkpoint.layout}, {when}", when, source, stamp)


def write_page(report: Report, checkpoint: Checkpoint, out: Path | None, figures: bool) -> list[Path]:
    """The page, whose path comes first, and its figures as SVG, PDF and PNG.

    Args:
        out: folder; None: the run's own, or the present one for a file of others.
    """
    folder, name = place(checkpoint, out)
    require_writable(folder)
    return write(report, folder / f"{name}.html", folder / f"{name}_figures" if figures else None)


def write_markdown(report: Report, path: Path) -> list[Path]:
    """Tables and sentences as Markdown, with the figures that only a circuit has beside it."""
    shown = {figure.name: figure for figure in report.figures if figure.name in OWN_FIGURES}
    prefix = f"{path.stem}_"
    write_atomic(path, markdown(report, shown, prefix).encode())
    written = [path]
    for name, figure in shown.items():
        written.append(path.with_name(f"{prefix}{name}.svg"))
        write_atomic(written[-1], figure_files(stamped(figure.spec(), report.stamp))[".svg"])
    return written


def place(checkpoint: Checkpoint, out: Path | None) -> tuple[Path, str]:
    """Folder of the page and its name without ending; an earlier step of a run bears its step."""
    path = checkpoint.path
    is_run = path.is_dir() and RunDir(path).settings_file.exists()
    folder = out if out is not None else path if is_run else Path()
    if not is_run:
        return folder, f"{path.stem}_circuit"
    is_last = checkpoint.step == RunDir(path).status().get("step")
    return folder, "circuit" if is_last else f"circuit_step_{checkpoint.step:08d}"
