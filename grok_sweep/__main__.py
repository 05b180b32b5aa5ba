"""python -m grok_sweep COMMAND PATH: work with runs that are there. Exit codes as launch.py."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from grok_sweep.commands import cancel, collect, info, measure, publish, retry, settings, status, tail, watch
from grok_sweep.commands.paths import WrongPath
from grok_sweep.sweep.command_line import EXIT_INTERRUPTED, EXIT_WRONG_SETTINGS

COMMANDS = (status, watch, tail, info, retry, cancel, collect, measure, publish, settings)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m grok_sweep", description="Work with runs that are there.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    given = parser.parse_args(arguments)
    try:
        return given.carry_out(given)
    except WrongPath as error:
        print(error, file=sys.stderr)
        return EXIT_WRONG_SETTINGS
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader, `head`, has seen enough
        sys.stderr.close()
