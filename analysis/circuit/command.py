"""python -m analysis circuit CHECKPOINT: what the user gives, checked before any work; what is found, told."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.captions import printable
from analysis.checkpoints.checkpoint import Given, SplitRule
from analysis.sweep import require_writable
from grok_sweep.config import Activation

if TYPE_CHECKING:
    from analysis.checkpoints.checkpoint import Checkpoint
    from analysis.circuit.circuit import Circuit

DESCRIPTION = """Read a checkpoint (a run's folder, a snapshot, a file published by others) and say whether it adds
by rotations, with which frequencies, how much of it, and what breaks when which part is removed. Prints tables, and
writes a page with figures. Everything is computed in float64, whatever the file's precision."""
EPILOG = "Formulas: docs/circuit.md. What is read, and what to do where a file is not: docs/checkpoints.md."


def add(commands: Any) -> None:
    """The parser of `circuit`, among those of the other commands."""
    words = "take a network apart: key frequencies, ablations, a verdict"
    parser = commands.add_parser("circuit", help=words, description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("path", metavar="CHECKPOINT", help="a run's folder, or a file of weights")
    parser.add_argument("--step", type=int, help="of a run, or of a file with several checkpoints; default: the last")
    parser.add_argument("--key-freqs", type=_numbers, metavar="K,K,…", help="key frequencies, in place of the rule's")
    words = "random relabellings of the residues beside the verdict (default 200)"
    parser.add_argument("--relabellings", type=_positive, default=200, metavar="N", help=words)
    _add_file(parser.add_argument_group("what a file of others may not say"))
    _add_out(parser.add_argument_group("what is written"))
    parser.set_defaults(command=_circuit)


def _add_file(group: Any) -> None:
    words = "pairs trained on: paper:0.3:1 (random.shuffle) or torch:0.3:2 (torch.randperm)"
    group.add_argument("--split", type=_split, metavar="RULE:FRAC:SEED", help=words)
    words = "where the split is unknown: try seeds 0..N-1 of both shuffles (default 51)"
    group.add_argument("--seeds", type=_positive, default=51, metavar="N", help=words)
    group.add_argument("--p", type=int, help="modulus, where shapes alone do not tell")
    group.add_argument("--operation", help="add, subtract, multiply, divide, … or a dotted path")
    group.add_argument("--n-heads", type=int, help="number of heads, where shapes alone do not tell")
    group.add_argument("--d-head", type=int, help="width of a head, likewise")
    group.add_argument("--activation", choices=[each.name for each in Activation], help="of the neurons")
    words = "name of a weight in the file, .T behind it to turn it: W_in=mlp.fc1.weight.T; may be repeated"
    group.add_argument("--name", action="append", default=[], type=_name, metavar="OURS=THEIRS", help=words)


def _add_out(group: Any) -> None:
    words = "every number, flat and unrounded; - prints it and nothing else"
    group.add_argument("--json", metavar="FILE", help=words)
    words = "folder for the page and its figures; default: the run's own, else the present one"
    group.add_argument("--out", metavar="DIR", type=Path, help=words)
    group.add_argument("--no-page", action="store_true", help="no page and no figures")
    group.add_argument("--no-figures", action="store_true", help="the page alone, without its figures as files")
    words = "the same as a page of Markdown, for notes and documents"
    group.add_argument("--markdown", metavar="FILE", type=Path, help=words)
    words = "write the weights under TransformerLens's names (.pt or .safetensors), its settings beside them"
    group.add_argument("--export", metavar="FILE", type=Path, help=words)


# --- what the user gives ------------------------------------------------------------------------------------


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in re.split("[, ]+", text.strip(" ,"))]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be whole numbers, as in 3,6,23,39, got {text!r}") from error


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, got {text!r}")
    return int(text)


def _split(text: str) -> SplitRule:
    try:
        return SplitRule.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _name(text: str) -> tuple[str, str]:
    ours, _, theirs = text.partition("=")
    if not (ours and theirs):
        raise argparse.ArgumentTypeError(f"must be OURS=THEIRS, as in W_E=embed.weight, got {text!r}")
    return ours, theirs


def _given(chosen: argparse.Namespace) -> Given:
    activation = None if chosen.activation is None else Activation[chosen.activation]
    return Given(
        chosen.p, chosen.operation, chosen.n_heads, chosen.d_head, activation, chosen.split, chosen.step,
        dict(chosen.name),
    )  # fmt: skip


# --- what is done -------------------------------------------------------------------------------------------


def _circuit(chosen: argparse.Namespace) -> int:
    try:
        _require_places(chosen)
        # Imported here: neither `--help` nor a wrong option needs torch or Altair.
        import torch

        from analysis.checkpoints.read import read
        from analysis.checkpoints.splits import doubt, find_split
        from analysis.circuit.of_checkpoint import circuit_of

        torch.set_num_threads(1)  # two gain a fifth on idle cores, and lose tenfold beside other programs
        checkpoint, _ = find_split(read(chosen.path, _given(chosen)), range(chosen.seeds))
        if chosen.split is not None and (said := doubt(checkpoint)):
            checkpoint = replace(checkpoint, notes=(*checkpoint.notes, said))
        found = circuit_of(checkpoint, chosen.key_freqs, chosen.relabellings)
        _tell(chosen, checkpoint, found)
        _write(chosen, checkpoint, found)
    except BrokenPipeError:  # the reader, `head`, has seen enough
        raise
    except (ValueError, OSError) as error:
        print("\n".join(map(printable, f"python -m analysis: {error}".splitlines())), file=sys.stderr)
        return 2
    return 0


def _require_places(chosen: argparse.Namespace) -> None:
    folders = [Path(chosen.json).parent] if chosen.json not in (None, "-") else []
    folders += [file.parent for file in (chosen.export, chosen.markdown) if file is not None]
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"cannot write to {folder}: no such folder")
    for folder in [*folders, *([chosen.out] if chosen.out is not None else [])]:
        require_writable(folder)


def _tell(chosen: argparse.Namespace, checkpoint: Checkpoint, found: Circuit) -> None:
    from analysis.circuit import tables, text
    from analysis.circuit.of_checkpoint import source_of
    from analysis.circuit.write import as_json

    if chosen.json == "-":
        print(as_json(checkpoint, found, _command()))
        return
    lines = [f"{name}: {value}" for name, value in source_of(checkpoint)]
    lines += [f"note: {note}" for note in checkpoint.notes]
    lines += ["", *text.text(tables.sections(found)).splitlines(), ""]
    print("\n".join(map(printable, lines)))


def _write(chosen: argparse.Namespace, checkpoint: Checkpoint, found: Circuit) -> None:
    from analysis.circuit.write import report_of, write_export, write_json, write_markdown, write_page

    if chosen.json not in (None, "-"):
        _say(write_json(checkpoint, found, Path(chosen.json), _command()), chosen)
    if chosen.export is not None:
        _say(write_export(checkpoint, chosen.export), chosen)
    is_page = not chosen.no_page and chosen.json != "-"
    if not is_page and chosen.markdown is None:
        return
    report = report_of(checkpoint, found, _command())
    if chosen.markdown is not None:
        _say(write_markdown(report, chosen.markdown), chosen)
    if is_page:
        page, *figures = write_page(report, checkpoint, chosen.out, not chosen.no_figures)
        if figures:
            print(f"wrote {len(figures)} files of figures in {printable(str(figures[0].parent))}, and the page:")
        print(printable(str(page)))


def _command() -> str:
    return shlex.join([".venv/bin/python", "-m", "analysis", *sys.argv[1:]])


def _say(written: Sequence[Path], chosen: argparse.Namespace) -> None:
    for path in written:
        print(f"wrote {printable(str(path))}", file=sys.stderr if chosen.json == "-" else sys.stdout)
