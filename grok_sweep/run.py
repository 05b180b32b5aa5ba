"""One run, from settings to summary: the main path, in the order in which it happens."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from grok_sweep import train
from grok_sweep.config import RunConfig, flat, identity_of, require_valid, resolved, run_id_of
from grok_sweep.loggers import open_mirror
from grok_sweep.measures import table
from grok_sweep.measures.many import Ready
from grok_sweep.measures.rows import Row, Wanted
from grok_sweep.measures.schedule import Schedule, schedule, stop_step
from grok_sweep.own import own_problems
from grok_sweep.provenance import add_attempt, environment
from grok_sweep.recorder import Recorder
from grok_sweep.store import RunDir, State
from grok_sweep.summary import summarise
from grok_sweep.tasks import Task, make_task
from grok_sweep.train import TrainState

TICK_S = 1.0
"""Seconds between looks at the claim, the clock of the checkpoint, and reports."""


@dataclass(frozen=True)
class Progress:
    """How far a run is; `row` is its last logged one."""

    run_id: str
    step: int
    n_steps: int
    row: dict[str, Any]
    steps_per_s: float
    seconds_left: float | None


@dataclass(frozen=True)
class Hooks:
    """What the surroundings of a run may ask of it.

    Attributes:
        check: called before every write; raises where the run is no longer ours.
        fence: called just before a file takes its name; as check, but certain, whatever the file system remembers.
        stop: True: write a checkpoint and leave.
        report: hears how far the run is, at most every TICK_S seconds and at its end.
        noted: of these surroundings, what provenance.json is to hold.
        conditions: of them, what the numbers depend on, as they were one after the other; none while not known.
    """

    check: Callable[[], None] = lambda: None
    fence: Callable[[], None] = lambda: None
    stop: Callable[[], bool] = lambda: False
    report: Callable[[Progress], None] = lambda progress: None
    noted: Mapping[str, Any] = field(default_factory=dict)
    conditions: Callable[[], Sequence[Mapping[str, Any]]] = lambda: ({},)


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended; `end` is n_steps or stop_rule where the run is done."""

    state: State
    step: int
    end: str | None = None


@dataclass(frozen=True)
class Waiting:
    """What a run wants of whoever trains it: the state after `step` updates, or an earlier one; no later one.

    Attributes:
        state: the last one that it has seen.
        row: what a row of that state is to be made of; None where none is due.
    """

    fixed: train.Setup
    state: TrainState
    step: int
    row: Wanted | None = None


@dataclass(frozen=True)
class Seen:
    """A state, with its row where whoever trains has measured it already."""

    state: TrainState
    ready: Ready | None = None


Attempt = Generator[Waiting, Seen, State]
"""A run that somebody trains: it says what it waits for, is sent states, and ends with how it ended."""


def run_one(config: RunConfig, path: str | Path, hooks: Hooks | None = None) -> State:
    """Train one network, or go on where an earlier attempt stopped; everything it says is under `path`.

    Returns done, diverged or interrupted. The same settings give the same rows and weights, bit for bit, however
    often the run was killed and started again (on the same device, threads and library).

    Raises:
        ValueError: wrong settings, or a folder that belongs to others.
        OSError: the folder cannot be written.
    """
    return driven(attempt(config, path, hooks))


def driven(run: Attempt) -> State:
    """Train a run by itself, showing it every state, until it ends; how it ended."""
    try:
        waiting = next(run)
        states = train.training(waiting.state, waiting.fixed)
        while True:
            run.send(_or_thrown_into(run, states))
    except StopIteration as ended:
        return ended.value


def _or_thrown_into(run: Attempt, states: Iterator[TrainState]) -> Seen:
    """The next state; what is raised on the way is the run's to hear, which lets go of its files."""
    try:
        return Seen(next(states))
    except BaseException as error:
        run.throw(error)
        raise


def attempt(config: RunConfig, path: str | Path, hooks: Hooks | None = None) -> Attempt:
    """`run_one`, but for the training: whoever drives it trains, alone or together with others."""
    hooks = hooks or Hooks()
    config = resolved(config)
    require_valid(config)
    if found := table.problems(config.measures.names) + own_problems(config):
        raise ValueError("wrong settings:\n" + "\n".join(f"- {line}" for line in found))
    run_dir = _own_folder(config, RunDir(path, hooks.fence))
    device = choose_device(config.device)
    torch.backends.cuda.matmul.allow_tf32 = config.allow_tf32

    task = make_task(config.data)
    fixed = train.setup(config, task, device)
    rows_at = schedule(config.measures, config.n_steps)
    facts = environment(device) | {"gradient": fixed.gradient_by}

    name = run_id_of(flat(config))
    with Recorder(config, run_dir, fixed, rows_at, facts, hooks.check, hooks.conditions) as recorder:
        state = recorder.resumed_state() or train.initial_state(fixed)
        recorder.begin(open_mirror(config, run_dir, name, run_dir.log))
        add_attempt(run_dir, state.step, facts | dict(hooks.noted))
        run = _Run(config, name, fixed, task.to(device), rows_at, recorder, hooks, state.step)
        outcome = yield from _follow(run, state)

        summary = summarise(config, recorder.rows, outcome.step, outcome.end, bitwise=recorder.is_bitwise)
        summary["n_train"] = task.n_train
        if outcome.state is State.diverged:
            # What has not happened yet will not: no phase, and nothing is "so far".
            summary |= {"diverged_at": outcome.step, "end": "diverged", "phase": None, "phase_scale_free": None}
        recorder.finish(outcome.state, outcome.step, outcome.end, summary)
    return outcome.state


def choose_device(name: str) -> torch.device:
    """The device that the setting names; auto is cuda where there is one. ValueError where there is none."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={name}: torch finds {torch.cuda.device_count()} CUDA devices here; use device=cpu or auto"
        )
    return device


def _own_folder(config: RunConfig, run_dir: RunDir) -> RunDir:
    """The folder, with settings.json in it; ValueError where another network's settings stand there."""
    stored = run_dir.settings()
    if stored is not None:
        wanted = identity_of(flat(config))
        differing = [name for name in wanted if name in stored and stored[name] != wanted[name]]
        if differing:
            shown = ", ".join(f"{name}: {stored[name]} there, {wanted[name]} asked" for name in differing)
            way_out = "give another sweep=… or root=…"
            raise ValueError(f"{run_dir.path} holds a run with other settings ({shown}); {way_out}")
    return run_dir


# --- the loop -----------------------------------------------------------------------------------------------


@dataclass
class _Run:
    """What the loop over steps carries along."""

    config: RunConfig
    name: str
    fixed: train.Setup
    task: Task
    rows_at: Schedule
    recorder: Recorder
    hooks: Hooks
    first_step: int
    started: float = field(default_factory=time.monotonic)
    ticked: float = field(default_factory=time.monotonic)

    @cached_property
    def wanted(self) -> Wanted:
        return Wanted.of(self.config, self.task, self.fixed)

    @cached_property
    def looks(self) -> list[int]:
        """Steps whose states are to be seen, but for the last."""
        return sorted(self.rows_at.full | self.rows_at.losses_only | self.snapshots_at)

    def next_look(self, step: int, last_step: int) -> int:
        """The first of them after `step`."""
        i = bisect_right(self.looks, step)
        return min(last_step, self.looks[i]) if i < len(self.looks) else last_step

    @cached_property
    def snapshots_at(self) -> frozenset[int]:
        n = self.config.snapshots.n
        return frozenset(round(i * self.config.n_steps / n) for i in range(n + 1)) if n else frozenset()


def _follow(run: _Run, state: TrainState) -> Generator[Waiting, Seen, Outcome]:
    """From `state` on: rows where they are due, checkpoints by the clock, until done, diverged or stopped."""
    last_step, ready = _last_step(run), None
    while True:
        if state.objective is not None and not math.isfinite(state.objective):
            # The objective was taken before the update: the network of the step before is the broken one.
            return Outcome(State.diverged, state.step - 1)
        if state.step in run.snapshots_at:
            run.recorder.snapshot(state)
        if (state.step in run.rows_at or state.step == last_step) and state.step > run.recorder.last_step:
            _log_row(run, state, last_step, ready)
            last_step = _last_step(run)
        if state.step >= last_step:
            run.recorder.checkpoint(state)
            _report(run, state.step, last_step)
            return Outcome(State.done, state.step, "n_steps" if state.step == run.config.n_steps else "stop_rule")
        if run.hooks.stop():
            run.recorder.checkpoint(state)
            return Outcome(State.interrupted, state.step)
        if time.monotonic() - run.ticked >= TICK_S:
            _tick(run, state, last_step)
        seen = yield _waiting(run, state, last_step)
        state, ready = seen.state, seen.ready


def _waiting(run: _Run, state: TrainState, last_step: int) -> Waiting:
    step = run.next_look(state.step, last_step)
    has_row = step in run.rows_at or step == last_step
    return Waiting(run.fixed, state, step, run.wanted if has_row else None)


def _last_step(run: _Run) -> int:
    stopped = stop_step(run.recorder.rows, run.config.stop)
    return run.config.n_steps if stopped is None else min(stopped, run.config.n_steps)


def _log_row(run: _Run, state: TrainState, last_step: int, ready: Ready | None = None) -> None:
    """Measure this state, if it is not yet, and append its row; the final one holds everything."""
    found = ready or Row(state, run.wanted)
    values = dict(found.always)
    fired = run.config.stop.test_loss is not None and stop_step([values], run.config.stop) == state.step
    is_final = state.step == last_step or fired
    if is_final or state.step in run.rows_at.full:
        values |= found.measured
    if is_final or state.step in run.rows_at.with_vectors:
        values |= found.vectors
    run.recorder.append(values)


def _tick(run: _Run, state: TrainState, last_step: int) -> None:
    run.hooks.check()
    run.recorder.checkpoint_if_due(state)
    _report(run, state.step, last_step)
    run.ticked = time.monotonic()


def _report(run: _Run, step: int, last_step: int) -> None:
    elapsed = time.monotonic() - run.started
    rate = (step - run.first_step) / elapsed if elapsed > 0 else 0.0
    left = (last_step - step) / rate if rate > 0 else None
    run.hooks.report(Progress(run.name, step, last_step, run.recorder.rows[-1], rate, left))
