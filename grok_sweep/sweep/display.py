"""What a sweep shows while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from grok_sweep.store import State
from grok_sweep.sweep.progress import Look, RunProgress, Watch
from grok_sweep.sweep.words import duration, ending, named, number, short_axes

HEARTBEAT_S = 30.0
"""Seconds between plain lines that say how far the running runs are."""

AROUND_TABLE = 6
"""Lines of a terminal that are no running run: the table's head, which may wrap, the count, the prompt."""


class Display:
    """Shows each look of a watch; entered before the first, left after the last."""

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def show(self, look: Look) -> None:
        raise NotImplementedError

    def say(self, line: str) -> None:
        raise NotImplementedError


def display(watch: Watch) -> Display:
    """The live table where standard output is a terminal, plain lines elsewhere."""
    return LiveTable(watch) if sys.stdout.isatty() else PlainLines(watch)


class PlainLines(Display):
    """A line when a run starts, one when it ends, and one now and then between."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._spoke = time.monotonic()

    def say(self, line: str) -> None:
        print(line, flush=True)
        self._spoke = time.monotonic()

    def show(self, look: Look) -> None:
        for view in look.started:
            self.say(f"{named(view.run)} {self._how_it_began(view)}")
        for line in ended_lines(self._watch, look):
            self.say(line)
        if time.monotonic() - self._spoke >= HEARTBEAT_S:
            steps = "; ".join(
                f"{view.run.run_id} step {view.step}/{view.n_steps} test acc "
                f"{number(view.row.get('test_acc'), '.3f')}"
                for view in look.running
            )
            self.say(f"{counts(self._watch, look)}: {steps}" if steps else counts(self._watch, look))

    def _how_it_began(self, view: RunProgress) -> str:
        if self._watch.of_others:
            return f"is at step {view.step}"
        step = view.status.get("step", 0)  # of the checkpoint it went on from
        return f"continues at step {step}" if step else "starts"


class LiveTable(Display):
    """A table with a line for each running run; what ended scrolls away above it."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._live = Live(console=Console(), auto_refresh=False, transient=True)

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        self._live.console.print(Text(line))

    def show(self, look: Look) -> None:
        for line in ended_lines(self._watch, look):
            self.say(line)
        lines = [Text(counts(self._watch, look))]
        n_shown = max(1, self._live.console.height - AROUND_TABLE)
        if (n_more := len(look.running) - n_shown) > 0:
            lines.insert(0, Text(f"… and {n_more} more"))
        table = [_table(look.running[:n_shown], self._live.console.width)] if look.running else []
        self._live.update(Group(*table, *lines), refresh=True)


_DISPENSABLE = ("train loss", "test loss", "train acc", "steps/s")
"""Columns that go, one after the other, where the terminal is too narrow for all."""


def _table(running: list[RunProgress], width: int) -> Table:
    axes = list(dict.fromkeys(name for view in running for name in short_axes(view.run)))
    rows = [_cells(view, axes) for view in running]
    for name in _DISPENSABLE:
        if sum(2 + max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]) <= width + 2:
            break
        rows = [{head: word for head, word in row.items() if head != name} for row in rows]
    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        table.add_column(name, justify="left" if name in ("run", *axes) else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row.values())
    return table


def _cells(view: RunProgress, axes: Sequence[str]) -> dict[str, str]:
    values = short_axes(view.run)
    return {
        "run": view.run.run_id[:8],
        **{name: str(values.get(name, "")) for name in axes},
        "step": f"{view.step}/{view.n_steps}",
        "train loss": number(view.row.get("train_loss")),
        "train acc": number(view.row.get("train_acc"), ".3f"),
        "test loss": number(view.row.get("test_loss")),
        "test acc": number(view.row.get("test_acc"), ".3f"),
        "steps/s": number(view.steps_per_s, ".0f"),
        "left": duration(view.seconds_left),
    }


def ended_lines(watch: Watch, look: Look) -> list[str]:
    """[4 of 120] 3fa9c1d20b7e (wd=1.0): done at step 5000: …"""
    at_end = watch.n_before + len(watch.ended) - len(look.ended)
    return [
        f"[{at_end + i} of {watch.n_runs}] {named(view.run)} {ending(watch.sweep.run(view.run.run_id))}"
        for i, view in enumerate(look.ended, 1)
    ]


def counts(watch: Watch, look: Look) -> str:
    """4 of 120 finished (1 diverged, 1 failed), 2 running, about 12 min left"""
    odd = [f"{n} {state.value}" for state in (State.diverged, State.failed) if (n := watch.count(state))]
    left = watch.seconds_left(look.running)
    return (
        f"{watch.n_before + len(watch.ended)} of {watch.n_runs} finished"
        + (f" ({', '.join(odd)})" if odd else "")
        + f", {len(look.running)} running"
        + (f", at most about {duration(left)} left" if left is not None else "")
    )
