"""retry: failed runs made trainable again, for whatever worker comes to them next."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from grok_sweep.commands.launches import how_to_continue
from grok_sweep.commands.paths import is_sweep, run_at, sweep_at
from grok_sweep.store import State
from grok_sweep.sweep.command_line import EXIT_DONE, EXIT_RUN_FAILED
from grok_sweep.sweep.reopen import reopen
from grok_sweep.sweep.survey import Seen, survey
from grok_sweep.sweep.words import named


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "retry",
        help="make failed runs trainable again",
        description="Make failed runs trainable again: they go on from their last checkpoint, or from the beginning "
        "where there is none, with whatever worker comes to them next. retry=failed on a launch's command line does "
        "the same for that launch alone. Runs that somebody works on are left alone.",
    )
    parser.add_argument("path", type=Path, help="a sweep's folder, or a run's")
    parser.set_defaults(carry_out=carry_out)


def carry_out(given: argparse.Namespace) -> int:
    """0; 1 where some failed run could not be had."""
    sweep, one = (sweep_at(given.path), None) if is_sweep(given.path) else run_at(given.path)
    seen = survey(sweep, None if one is None else [one])
    failed = [s for s in seen if s.state is State.failed]
    if not failed:
        print(f"nothing to retry: {_as_it_is(seen[0]) if one else f'none of {len(seen)} runs failed'}")
        return EXIT_DONE
    n_retried = 0
    for s in failed:
        try:
            if not s.is_worked_on and reopen(sweep, s.run, State.failed, "retry asked for"):
                n_retried += 1
                continue
            print(f"{named(s.run)}: left alone, somebody works on it", file=sys.stderr)
        except ValueError as error:  # a status.json that cannot be read
            print(f"{named(s.run)}: left alone: {error}; delete this file", file=sys.stderr)
    print(
        f"{n_retried} of {len(failed)} failed runs can be trained again, from their checkpoints where there are any"
    )
    print("\n".join(how_to_continue(sweep, survey(sweep))))
    return EXIT_DONE if n_retried == len(failed) else EXIT_RUN_FAILED


def _as_it_is(seen: Seen) -> str:
    return f"{named(seen.run)} is {'running' if seen.is_worked_on else seen.state.value}"
