"""settings: every setting with its default and meaning."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

from grok_sweep import settings_list
from grok_sweep.sweep.command_line import EXIT_DONE


def add(commands: Any) -> None:
    parser = commands.add_parser("settings", help="list every setting with its default and meaning")
    parser.add_argument("--markdown", action="store_true", help="as docs/settings.md")
    parser.set_defaults(carry_out=carry_out)


def carry_out(given: argparse.Namespace) -> int:
    if given.markdown:
        print(settings_list.markdown(), end="")
        return EXIT_DONE
    for name, default, meaning in settings_list.settings():
        print(textwrap.fill(f"{name}={default}  {meaning}", 100, subsequent_indent="    "))
    return EXIT_DONE
