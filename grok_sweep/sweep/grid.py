"""From combinations of settings to a plan: each checked, named, and planned once. No Hydra, no torch."""

from __future__ import annotations

import json
import os
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grok_sweep.commit import code
from grok_sweep.config import RunConfig, flat, from_flat, resolved, run_id_of
from grok_sweep.measures import table
from grok_sweep.own import own_problems
from grok_sweep.store import PlannedRun, SweepDir
from grok_sweep.sweep.claims import Claims
from grok_sweep.sweep.command_line import (
    OPTION_NAMES,
    SHORTHANDS,
    Order,
    SettingsError,
    SweepOptions,
    disagreements,
    options,
)

REFUSED = "wrong settings, nothing was started:"
DEFAULT_SWEEP = "default"
PLANNING, PLANNING_S = "plan", 60.0
"""The claim on plan.jsonl and sweep.json, and the seconds after which a launch that died elsewhere is passed over."""
SHUFFLE_SEED = 0
"""order=shuffled is one fixed order, so that the same command asks for the same one."""


@dataclass
class Candidate:
    """One combination of the command line's values, composed.

    Attributes:
        asked: what the command line gives for it: name as typed -> value.
        settings: every setting, flat, with shorthands and options (command_line.LaunchConfig); None if not composed.
        experiment: the choice of that group.
        problems: what went wrong in composing it.
    """

    asked: Mapping[str, Any]
    settings: dict[str, Any] | None = None
    experiment: str | None = None
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """The runs of one command, checked and named, in the order in which they are to be trained.

    Attributes:
        n_asked: combinations of the command line; more than the runs where some mean the same run.
        notes: what the user should know, though nothing is wrong.
    """

    sweep: SweepDir
    runs: list[PlannedRun]
    options: SweepOptions
    n_asked: int
    notes: list[str]
    claim_timeout_s: float

    def add(self) -> None:
        """Write the runs into the sweep's plan.jsonl, and the command into its history, sweep.json.

        Axes only grow: a run of a sweep that is asked for again by itself stays in its diagram. One launch at a time:
        several machines may add, and NFS knows no appending.
        """
        with suppress(FileNotFoundError):
            self.sweep.plan_file.open("rb").close()  # what cannot be read is told before anything is written
        try:
            with Claims(self.sweep, PLANNING_S).held(PLANNING):
                known = {run.run_id: run.axes for run in self.sweep.plan()}
                self.sweep.add(
                    PlannedRun(run.run_id, run.settings, {**known.get(run.run_id, {}), **run.axes})
                    for run in self.runs
                )
                self.sweep.add_launch(self._launch(n_new=sum(run.run_id not in known for run in self.runs)))
        except OSError:
            stored = {run.run_id for run in self.sweep.plan()}
            if any(run.run_id not in stored for run in self.runs):
                raise
            # All is there; whether something is left to do in a folder that takes no file is for the runs to say.

    def _launch(self, n_new: int) -> dict[str, Any]:
        return {
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "folder": os.getcwd(),
            "command": [sys.executable, *sys.argv],
            "n_runs": len(self.runs),
            "n_new": n_new,
            **code().facts(self.sweep.path),
        }


def plan(
    candidates: Iterable[Candidate], swept: Sequence[str], notes: Sequence[str] = (), wrong: Sequence[str] = ()
) -> Plan:
    """The candidates as named runs, each once.

    Args:
        candidates: read one by one: ten thousand at once would be 100 MB.
        swept: names (settings, shorthands, groups) that take several values, in the command line's order.
        wrong: what is wrong with the command as a whole.

    Raises SettingsError with every problem of the command and of every candidate.
    """
    problems = Problems()
    asked: SweepOptions | None = None
    runs: dict[str, PlannedRun] = {}
    no_axes: dict[str, None] = {}
    first = None
    for candidate in candidates:
        config, found = _run_config(candidate, swept)
        if candidate.settings is not None:
            given = options(candidate.settings)
            found += given.problems()
            asked = asked or given
        problems.add(found)
        if config is None or found:
            continue
        first = first or config
        run = _named(config, candidate, swept)
        no_axes.update(_differences(runs.setdefault(run.run_id, run), run))
    problems.refuse([*wrong, *no_axes])
    assert first is not None
    assert asked is not None
    kept = list(_with_true_axes(runs.values()))
    if asked.order is Order.shuffled:
        kept = _shuffled(kept)
    if asked.order is Order.coarse:
        kept = _coarse_first(kept)
    said = list(notes)
    if n_again := problems.n - len(kept):
        said.append(f"{n_again} of {problems.n} combinations mean a run that is asked for already: planned once")
    folder = SweepDir(Path(first.root) / str(first.sweep))
    return Plan(folder, kept, asked, problems.n, said, first.claim_timeout_s)


class Problems:
    """Each distinct problem, with the number of combinations it hits.

    Attributes:
        n: combinations looked at.
    """

    def __init__(self) -> None:
        self.n = 0
        self.hits: Counter[str] = Counter()

    def add(self, found: Iterable[str]) -> None:
        """What one combination has."""
        self.n += 1
        self.hits.update(list(dict.fromkeys(found)))

    def refuse(self, others: Sequence[str]) -> None:
        """Raise SettingsError if there was any, or one of the others, which concern the whole command."""
        lines = [f"- {line}" for line in others]
        lines += [
            f"- {line}" + (f" ({hits} of {self.n} runs)" if self.n > 1 else "") for line, hits in self.hits.items()
        ]
        if lines:
            raise SettingsError("\n".join([REFUSED, *lines]))


def _run_config(candidate: Candidate, swept: Sequence[str]) -> tuple[RunConfig | None, list[str]]:
    """The candidate's settings, every default filled in, or None; and what is wrong with them."""
    if candidate.settings is None:
        return None, candidate.problems
    settings = {
        name: value
        for name, value in candidate.settings.items()
        if name not in OPTION_NAMES and name not in SHORTHANDS
    }
    found = candidate.problems + disagreements(candidate.asked)
    if settings["sweep"] is None:
        if "experiment" in swept:
            found.append("several experiments in one command need a folder's name: give sweep=NAME")
        settings["sweep"] = (candidate.experiment or DEFAULT_SWEEP).replace("/", "_")
    try:
        config = from_flat(settings)
    except ValueError as error:  # settings added with Hydra's +
        return None, [*found, *(line.removeprefix("- ") for line in str(error).split("\n")[1:])]
    wrong = config.problems()
    found += wrong + table.problems(config.measures.names)
    if not wrong:
        config = resolved(config)
        found += own_problems(config)
    return (None if found else config), found


def _named(config: RunConfig, candidate: Candidate, swept: Sequence[str]) -> PlannedRun:
    settings = flat(config)
    axes = {}
    for name in swept:
        targets = SHORTHANDS.get(name, (name,))
        axes |= {target: settings[target] if target in settings else candidate.asked[name] for target in targets}
    return PlannedRun(run_id_of(settings), settings, axes)


def _differences(one: PlannedRun, other: PlannedRun) -> dict[str, None]:
    """What differs between two combinations that are one run by their numbers: no axis can be made of it."""
    return {
        f"{name} takes several values, but it does not change a run's numbers, so it names no run and cannot "
        "be an axis: give it one value": None
        for name, value in one.settings.items()
        if value != other.settings[name]
    }


def _with_true_axes(runs: Iterable[PlannedRun]) -> Iterable[PlannedRun]:
    """Without axes that have one value after all (frac=0.3,0.30)."""
    runs = list(runs)
    names = runs[0].axes
    several = [name for name in names if any(run.axes[name] != runs[0].axes[name] for run in runs)]
    return (PlannedRun(run.run_id, run.settings, {name: run.axes[name] for name in several}) for run in runs)


def _shuffled(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """One fixed random order, another for each seed; all of one seed before the next."""
    shuffled = list(runs)
    random.Random(SHUFFLE_SEED).shuffle(shuffled)
    seeds = [name for name in runs[0].axes if name in SHORTHANDS["seed"]]
    turn = {of_run: i for i, of_run in enumerate(dict.fromkeys(_seeds_of(run, seeds) for run in runs))}
    return sorted(shuffled, key=lambda run: turn[_seeds_of(run, seeds)])


def _seeds_of(run: PlannedRun, seeds: Sequence[str]) -> tuple[str, ...]:
    return tuple(_key(run, name) for name in seeds)


def _coarse_first(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """The ends of every axis first, then what lies halfway between, and so on; all of one seed before the next."""
    seeds = SHORTHANDS["seed"]
    ranks: dict[str, dict[str, int]] = {}
    for name in runs[0].axes:
        values = list(dict.fromkeys(_key(run, name) for run in runs))
        order = range(len(values)) if name in seeds else generations(len(values))
        ranks[name] = dict(zip(values, order, strict=True))

    def rank(run: PlannedRun) -> tuple[list[int], int, int]:
        of_seeds = [ranks[name][_key(run, name)] for name in run.axes if name in seeds]
        others = [ranks[name][_key(run, name)] for name in run.axes if name not in seeds]
        return of_seeds, max(others, default=0), sum(others)

    return sorted(runs, key=rank)


def _key(run: PlannedRun, name: str) -> str:
    return json.dumps(run.axes[name])


def generations(n: int) -> list[int]:
    """For n values in a row: 0 for both ends, 1 for the middle, 2 for the middles of the halves, and so on."""
    found = [0] * n
    spans, generation = [(0, n - 1)], 0
    while spans := [(low, high) for low, high in spans if high - low > 1]:
        generation += 1
        for low, high in spans:
            found[(low + high) // 2] = generation
        spans = [half for low, high in spans for half in ((low, (low + high) // 2), ((low + high) // 2, high))]
    return found
