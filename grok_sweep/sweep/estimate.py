"""What a plan will cost, before it is begun: time and disk, from runs of the same shape that are done, else from a
few steps and rows timed here."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch

from grok_sweep import train
from grok_sweep.config import LoggerKind, RunConfig, flat, from_flat
from grok_sweep.measures.evaluation import evaluate
from grok_sweep.measures.frequencies import Gap
from grok_sweep.measures.rows import measured, row
from grok_sweep.measures.schedule import schedule
from grok_sweep.models import build
from grok_sweep.models.parameters import unflatten
from grok_sweep.run import choose_device
from grok_sweep.store import PlannedRun, RunDir, State, SweepDir, last_row, read_json
from grok_sweep.sweep.grid import generations
from grok_sweep.sweep.words import duration
from grok_sweep.tasks import make_task

BUDGET_S = 6.0
"""Seconds for timing; shapes that it does not reach are reckoned from the nearest one timed."""
STEP_S, MOST_STEPS = 0.3, 40
"""Steps are timed until so many seconds or steps are over. The slowest of the fastest quarter counts: what disturbs
a machine for a moment only ever slows it."""
SAMPLE = 5
"""Finished runs looked at of each shape."""
RUN_S = 0.04
"""Of a run beside its steps and rows: its files, and their way to the disk (tests/bench/overhead.py)."""
SMALL_FILES = 16_000
"""Bytes of settings, status, summary, provenance, log, claims and plan of a run, as measured."""
MIRROR = 1.3
"""An offline W&B folder holds about so many bytes for each of metrics.jsonl."""

_SHAPE = (
    "data.p", "data.frac_train", "data.split", "data.operation", "optimizer.name", "optimizer.batch_size", "loss",
    "dtype", "loss_dtype", "allow_tf32", "compile", "device",
)  # fmt: skip
_NO_SHAPE = ("model.init_seed", "model.init_scale", "model.output_scale", "model.attention_rate")
_ROWS = ("measures.", "snapshots.", "logger.kind", "logger.mode", "n_steps", "stop.")
"""What, beside its shape, says what a finished run cost."""


@dataclass(frozen=True)
class Timed:
    """What one shape costs: seconds of a step and of each kind of row, bytes of what is written."""

    step_s: float
    losses_s: float
    full_s: float
    lists_s: float
    row_bytes: int
    list_bytes: int
    weight_bytes: int
    state_bytes: int

    def of(self, config: RunConfig) -> tuple[float, float]:
        """Seconds and bytes of a run to its last step; a stop rule may end it before."""
        rows_at = schedule(config.measures, config.n_steps)
        n_full, n_losses, n_lists = len(rows_at.full), len(rows_at.losses_only), len(rows_at.with_vectors)
        rows = (n_full + n_losses) * self.row_bytes + n_lists * self.list_bytes
        kept = (config.snapshots.n + 1) * (
            self.state_bytes if config.snapshots.optimizer_state else self.weight_bytes
        )
        mirrored = MIRROR if config.logger.kind is LoggerKind.wandb else 0.0
        seconds = RUN_S + config.n_steps * self.step_s + n_losses * self.losses_s
        seconds += n_full * self.full_s + n_lists * self.lists_s
        n_bytes = rows * (1 + mirrored) + self.state_bytes + kept + SMALL_FILES
        return seconds, n_bytes


@dataclass(frozen=True)
class Estimate:
    """Of the runs that are left, all together.

    Attributes:
        seconds: of training, were it one run after the other.
        sources: from what it was reckoned, in words.
    """

    seconds: float
    n_bytes: float
    sources: str


def estimate(sweep: SweepDir, runs: Sequence[PlannedRun], left: Sequence[PlannedRun], n_threads: int) -> Estimate:
    """What the runs that are left will cost.

    Args:
        runs: all of the plan, among them such as are done.
        n_threads: torch threads that a run will have.
    """
    torch.set_num_threads(n_threads)
    known = _finished(sweep, runs)
    wholes = [_whole(run.settings) for run in left]
    one_of = dict(zip(wholes, left, strict=True))
    new = {whole: from_flat(run.settings) for whole, run in one_of.items() if whole not in known}
    shapes = {whole: _shape(flat(config)) for whole, config in new.items()}
    timed = _timed({shapes[whole]: config for whole, config in new.items()})
    costs = known | {whole: timed[shapes[whole]].of(config) for whole, config in new.items()}
    seconds = n_bytes = 0.0
    for run, whole in zip(left, wholes, strict=True):
        share = 1 - sweep.run(run.run_id).status().get("step", 0) / run.settings["n_steps"]
        seconds += max(share, 0.0) * costs[whole][0]
        n_bytes += costs[whole][1]
    n_known = sum(whole in known for whole in wholes)
    return Estimate(seconds, n_bytes, _sources(n_known, [one.step_s for one in timed.values()]))


def cost_in_words(
    sweep: SweepDir, runs: Sequence[PlannedRun], left: Sequence[PlannedRun], n_workers: int, n_threads: int
) -> list[str]:
    """The estimate in lines; why there is none, where a network cannot be tried here."""
    try:
        found = estimate(sweep, runs, left, n_threads)
    except Exception as error:  # memory, a device, a network of the user's own: the plan is no worse for it
        return [f"what they will cost is not known: {type(error).__name__}: {' '.join(str(error).split())[:200]}"]
    n_workers = min(n_workers, len(left))
    threads = f"{n_threads} thread" + ("s" if n_threads > 1 else "")
    hours = found.seconds * n_threads / 3600
    return [
        f"about {hours:.2g} core-hours: {duration(found.seconds / n_workers)} for {n_workers} "
        f"worker{'s' if n_workers > 1 else ''} of {threads}; {_size(found.n_bytes)} of disk",
        f"  reckoned from {found.sources}",
    ]


def _size(n_bytes: float) -> str:
    for unit in ("kB", "MB", "GB"):
        n_bytes /= 1000
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
    return f"{n_bytes / 1000:.3g} TB"


def _sources(n_known: int, steps: Sequence[float]) -> str:
    said = [f"finished runs of the same settings but seed, wd, lr ({n_known} runs)"] if n_known else []
    if steps:
        least, most = 1e3 * min(steps), 1e3 * max(steps)
        range_ = f"{least:.3g}" if f"{least:.3g}" == f"{most:.3g}" else f"{least:.3g} to {most:.3g}"
        said.append(f"steps timed here, {range_} ms")
    return " and ".join(said)


# --- runs that are done -------------------------------------------------------------------------------------


def _shape(settings: Mapping[str, Any]) -> str:
    """What the time of a step depends on, as a name."""
    return json.dumps({n: v for n, v in settings.items() if _is_shape(n) or n.startswith("measures.")})


def _whole(settings: Mapping[str, Any]) -> str:
    """What the time and the disk of a whole run depend on."""
    return json.dumps({n: v for n, v in settings.items() if _is_shape(n) or n.startswith(_ROWS)})


def _is_shape(name: str) -> bool:
    return name in _SHAPE or (name.startswith("model.") and name not in _NO_SHAPE)


def _finished(sweep: SweepDir, runs: Iterable[PlannedRun]) -> dict[str, tuple[float, float]]:
    """Seconds and bytes of runs that are done, by all that they depend on: medians of a few."""
    found: dict[str, list[tuple[float, float]]] = {}
    for run in runs:
        of_these = found.setdefault(_whole(run.settings), [])
        if len(of_these) < SAMPLE and (cost := _cost_of(sweep.run(run.run_id), run.settings["n_steps"])) is not None:
            of_these.append(cost)
    return {
        name: (median(seconds for seconds, _ in costs), median(n_bytes for _, n_bytes in costs))
        for name, costs in found.items()
        if costs
    }


def _cost_of(run_dir: RunDir, n_steps: int) -> tuple[float, float] | None:
    """Seconds and bytes that a run took, if it is done. The seconds of one in an ensemble are those of all in it."""
    try:
        status = run_dir.status()
        if State(status["state"]) is not State.done or status.get("step") != n_steps:
            return None
        if any("ensemble" in attempt for attempt in (read_json(run_dir.provenance_file) or {}).get("attempts", [])):
            return None
        last = last_row(run_dir.metrics_file)
        n_bytes = sum(file.stat().st_size for file in run_dir.path.rglob("*") if file.is_file())
    except (OSError, ValueError):
        return None
    return None if last is None else (float(last["seconds"]), float(n_bytes))


# --- timing -------------------------------------------------------------------------------------------------


def _timed(configs: Mapping[str, RunConfig]) -> dict[str, Timed]:
    """Every shape: the ends of the range of work first, then what lies between, for as long as the budget lasts."""
    by_work = sorted(configs, key=lambda shape: _work(configs[shape]))
    in_turn = [by_work[i] for i in sorted(range(len(by_work)), key=generations(len(by_work)).__getitem__)]
    began, timed = time.monotonic(), {}
    for shape in in_turn:
        if timed and time.monotonic() - began > BUDGET_S:
            break
        timed[shape] = _time(configs[shape])
    return {shape: timed.get(shape) or _like_the_nearest(configs[shape], timed, configs) for shape in configs}


def _work(config: RunConfig) -> float:
    """Multiplications of a step, but for a factor."""
    n_parameters = sum(math.prod(shape) for shape in build.network(config.model, config.data.p).shapes().values())
    n_train = config.optimizer.batch_size or config.data.frac_train * config.data.n_pairs
    return float(n_parameters * n_train)


def _like_the_nearest(config: RunConfig, timed: Mapping[str, Timed], configs: Mapping[str, RunConfig]) -> Timed:
    work = _work(config)
    nearest = min(timed, key=lambda shape: abs(math.log(_work(configs[shape]) / work)))
    like, step = timed[nearest], work / _work(configs[nearest])
    rows = (config.data.p / configs[nearest].data.p) ** 3  # pairs times answers
    return replace(
        like,
        step_s=like.step_s * step,
        losses_s=like.losses_s * rows,
        full_s=like.full_s * rows,
        lists_s=like.lists_s * rows,
    )


def _time(config: RunConfig) -> Timed:
    task, device = make_task(config.data), choose_device(config.device)
    fixed = train.setup(config, task, device)
    states, task = train.training(train.initial_state(fixed), fixed), task.to(device)
    state = next(states)  # the first one is dearer
    steps: list[float] = []
    while sum(steps) < STEP_S and len(steps) < MOST_STEPS:
        steps.append(_seconds(lambda: next(states)))
    values: dict[str, Any] = {}
    lists: dict[str, Any] = {}

    def a_row(kind: str) -> None:
        evaluation = evaluate(unflatten(state.weights, fixed.shapes), task, fixed.network, fixed.loss_dtype)
        values.update(row(state, evaluation, config.loss))
        if kind != "losses":
            if evaluation.task.group is not None:
                # As a row is once there are key frequencies: longer.
                gap = evaluation.gap
                five = torch.arange(len(gap.is_above), device=gap.gap.device) < 5
                evaluation.__dict__["gap"] = Gap(five, torch.full_like(gap.gap, 3.0))
            values.update(measured(evaluation, config.measures.names, vectors=False))
        if kind == "lists":
            lists.update(measured(evaluation, config.measures.names, vectors=True))

    a_row("lists")
    losses_s, full_s, lists_s = (_seconds(lambda kind=kind: a_row(kind)) for kind in ("losses", "full", "lists"))
    state_bytes = sum(tensor.nbytes for tensor in train.pack(state, fixed.shapes).values())
    return Timed(
        step_s=sorted(steps)[len(steps) // 4],
        losses_s=losses_s,
        full_s=full_s,
        lists_s=max(lists_s - full_s, 0.0),
        row_bytes=len(json.dumps(values)),
        list_bytes=len(json.dumps(lists)),
        weight_bytes=state.weights.nbytes,
        state_bytes=state_bytes,
    )


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
