"""python -m analysis sweep PATH: phase diagram, page and tables of a sweep; with flags what takes longer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from analysis import findings
from analysis.captions import printable
from analysis.findings import Findings
from analysis.sweep import draw, require_writable, table
from analysis.sweep_map import MOST_RUNS_AT_A_STEP, SweepMap, map_of

MORE = {"stages": "--stages (of every run)", "alarms": "--alarms (which measure sees grokking coming)"}


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "sweep",
        help="phase diagram and table of a sweep, finished or still running",
        description="Write cells.csv, cells.parquet, f_50.csv (the phase boundary) and "
        "phase_diagram.{html,svg,pdf,png} for a sweep. The page holds every colour and every pair of axes; the "
        "figures show two colours, or those of --colour.",
    )
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="*",
        help="the sweep's folder, runs/<sweep>; two are compared, their seeds paired",
    )
    parser.add_argument(
        "--wandb", metavar="ENTITY/PROJECT/GROUP", help="the sweep as W&B has it, in the place of PATH"
    )
    parser.add_argument(
        "--x", metavar="NAME", help="setting on the horizontal axis: wd, frac, p, lr, seed, or a full name"
    )
    parser.add_argument("--y", metavar="NAME", help="setting on the vertical axis")
    parser.add_argument(
        "--where",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="only runs with this value, for example p=59; may be given several times",
    )
    parser.add_argument(
        "--colour",
        metavar="NAME",
        action="append",
        default=[],
        help="what the figures show: phase, phase_scale_free, t_train, t_test, t_novel, grok_delay, "
        "share_generalised, or a measure as final.test_loss, min.test_loss, max.test_loss, at.test_loss; may be "
        "given several times",
    )
    parser.add_argument(
        "--at",
        metavar="STEP",
        type=int,
        help="the step at which at.<measure> is taken; default: the smallest last step of the runs that are done, "
        f"and none above {MOST_RUNS_AT_A_STEP:,} runs",
    )
    parser.add_argument("--stages", action="store_true", help="the stages of every run: bands, figure, stages.csv")
    parser.add_argument(
        "--alarms", action="store_true", help="which measure sees grokking coming: figure, table, alarms.csv"
    )
    parser.add_argument(
        "--publish", action="store_true", help="figures, tables and page to the W&B run <sweep>-report as well"
    )
    parser.add_argument("--out", metavar="DIR", help="folder to write to; default: the sweep's own")
    parser.set_defaults(command=carry_out)


def carry_out(chosen: argparse.Namespace) -> int:
    """0, or 2 for what the user has to put right."""
    # Imported here: W&B's client is wanted by few.
    from analysis.sources.read import read

    try:
        if len(chosen.path) > 1 and chosen.out is None:
            raise ValueError("several sweeps belong to no one folder: say where to write, --out DIR")
        sweep = read(chosen.path, chosen.wandb, lambda line: print(printable(line), file=sys.stderr))
        found = map_of(sweep, chosen.x, chosen.y, chosen.where, chosen.at)
        require_writable(Path(chosen.out or sweep.path))
        more = _worked_out(found, chosen)
        page, *others = draw(found, chosen.out, chosen.colour, more)
    except (ValueError, OSError) as error:
        print(f"python -m analysis: {printable(str(error))}", file=sys.stderr)
        return 2
    print(table(found))
    if more.lines:
        print("", *more.lines, sep="\n")
    left = [text for name, text in MORE.items() if not getattr(chosen, name)]
    print("", *(["more: " + ", ".join(left)] if left else []), sep="\n")
    if chosen.publish:
        print(_published(found, more, [page, *others], chosen))
    print("wrote", ", ".join(printable(path.name) for path in others), "beside the page:")
    print(printable(str(page)))
    return 0


def _worked_out(found: SweepMap, chosen: argparse.Namespace) -> Findings:
    parts: list[Callable[[SweepMap], Findings]] = [findings.differences, findings.boundary]
    parts += [findings.stages] if chosen.stages else []
    parts += [findings.alarms] if chosen.alarms else []
    whole = Findings()
    for part in parts:
        whole += part(found)
    return whole


def _published(found: SweepMap, more: Findings, files: list[Path], chosen: argparse.Namespace) -> str:
    from analysis.publish import publish_sweep

    folder = Path(chosen.out) if chosen.out else None
    return printable(publish_sweep(found.sweep, files, {"cells": found.cells, **more.tables}, folder=folder))
