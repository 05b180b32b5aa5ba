"""python -m analysis sweep runs/<sweep>: reports on what has been run. Needs neither torch nor Hydra."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.captions import printable
from analysis.dashboard import command as dashboard
from analysis.sweep import draw, map_sweep, require_writable, table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0, or 2 for what the user has to put right."""
    chosen = _parser().parse_args(arguments)
    return chosen.command(chosen)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m analysis", description="Reports on runs and sweeps.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sweep = commands.add_parser(
        "sweep",
        help="phase diagram and table of a sweep, finished or still running",
        description="Write cells.csv, cells.parquet and phase_diagram.{html,svg,pdf,png} for a sweep. The page holds "
        "every colour and every pair of axes; the figures show two colours, or those of --colour.",
    )
    sweep.add_argument("path", metavar="PATH", help="the sweep's folder, runs/<sweep>")
    sweep.add_argument(
        "--x", metavar="NAME", help="setting on the horizontal axis: wd, frac, p, lr, seed, or a full name"
    )
    sweep.add_argument("--y", metavar="NAME", help="setting on the vertical axis")
    sweep.add_argument(
        "--where",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="only runs with this value, for example p=59; may be given several times",
    )
    sweep.add_argument(
        "--colour",
        metavar="NAME",
        action="append",
        default=[],
        help="what the figures show: phase, phase_scale_free, t_train, t_test, t_novel, delay, share, or a measure "
        "as final.test_loss, min.test_loss, max.test_loss, at.test_loss; may be given several times",
    )
    sweep.add_argument(
        "--at",
        metavar="STEP",
        type=int,
        help="the step at which at.<measure> is taken; default: the smallest last step of the runs that are done",
    )
    sweep.add_argument("--out", metavar="DIR", help="folder to write to; default: the sweep's own")
    sweep.set_defaults(command=_sweep)
    dashboard.add(commands)
    return parser


def _sweep(chosen: argparse.Namespace) -> int:
    try:
        found = map_sweep(chosen.path, chosen.x, chosen.y, chosen.where, chosen.at)
        require_writable(Path(chosen.out or chosen.path))
    except (ValueError, OSError) as error:
        return _wrong(error)
    try:
        written = draw(found, chosen.out, chosen.colour)
    except (ValueError, OSError) as error:
        return _wrong(error)
    print(table(found))
    page, *others = written
    print("wrote", ", ".join(printable(path.name) for path in others), "beside the page:")
    print(printable(str(page)))
    return 0


def _wrong(error: Exception) -> int:
    print(f"python -m analysis: {printable(str(error))}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader, `head`, has seen enough
        sys.stderr.close()
