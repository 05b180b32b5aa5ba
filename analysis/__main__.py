"""python -m analysis sweep|run|circuit|dashboard PATH: reports on what has been run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from analysis import sweep_command
from analysis.circuit import command as circuit
from analysis.dashboard import command as dashboard
from analysis.report import command as run_report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0, or 2 for what the user has to put right."""
    parser = argparse.ArgumentParser(prog="python -m analysis", description="Reports on runs and sweeps.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (sweep_command, run_report, circuit, dashboard):
        command.add(commands)
    chosen = parser.parse_args(arguments)
    return chosen.command(chosen)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader, `head`, has seen enough
        sys.stderr.close()
