"""collect: a sweep's runs and rows as two Parquet tables."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from grok_sweep.commands.paths import sweep_at
from grok_sweep.sweep.command_line import EXIT_DONE
from grok_sweep.sweep.words import duration, size, some


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "collect",
        help="make runs.parquet and metrics.parquet, or bring them up to date",
        description="Make runs.parquet (a row a run: settings, state, summary) and metrics.parquet (a row a run and "
        "step, float32), or bring them up to date: only what has changed is read. Workers may write meanwhile.",
    )
    parser.add_argument("path", type=Path, help="a sweep's folder")
    parser.set_defaults(carry_out=carry_out)


def carry_out(given: argparse.Namespace) -> int:
    sweep = sweep_at(given.path)
    from grok_sweep.collected import collect  # polars, once there is work

    began = time.perf_counter()
    is_terminal = sys.stderr.isatty()

    def report(done: int, of: int) -> None:
        if is_terminal:
            print(f"\r{done} of {of} runs read", end="" if done < of else "\n", file=sys.stderr, flush=True)

    made = collect(sweep, report)
    print(
        f"{some(made.n_runs, 'run')}, {some(made.n_rows, 'row')}; read anew: {some(made.n_read, 'run')}, "
        f"{some(made.n_rows_read, 'row')}, in {duration(time.perf_counter() - began)}"
    )
    for file in (sweep.runs_parquet, sweep.metrics_parquet):
        print(f"{file}  {size(file.stat().st_size)}")
    return EXIT_DONE
