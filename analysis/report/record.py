"""All that a run's folder says, read once, whatever state the run is in."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grok_sweep.config import RunConfig, flat, from_flat, resolved
from grok_sweep.loaded import LoadedRun
from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.run_table import run_row
from grok_sweep.store import PlannedRun, RunDir, SweepDir, read_json, read_jsonl
from grok_sweep.sweep.alone import alone
from grok_sweep.tasks import Task

LOG_LINES = 25


@dataclass(frozen=True)
class Record:
    """A run as its folder has it.

    Attributes:
        folder: where it lies.
        settings: all of them, flat, every derived one filled in.
        rows: of metrics.jsonl, in order of steps.
        final_rows: of final_keys.jsonl: measures with the final key frequencies.
        facts: state, times with their brackets, phases, final. min. max.: as grok_sweep.run_table has them.
        summary: summary.json; {} before the end.
        attempts: of provenance.json.
        log: the last lines of log.txt.
        command: what trains this run alone.
        files: name, bytes of each file and folder.
        read_at: Unix time.
    """

    run_id: str
    sweep: str
    folder: Path
    settings: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    final_rows: Sequence[Mapping[str, Any]]
    facts: Mapping[str, Any]
    summary: Mapping[str, Any]
    attempts: Sequence[Mapping[str, Any]]
    log: Sequence[str]
    command: str
    files: Sequence[tuple[str, int]]
    read_at: float

    @property
    def state(self) -> str:
        return self.facts["state"]

    @property
    def last_row(self) -> Mapping[str, Any]:
        return self.rows[-1] if self.rows else {}

    @property
    def steps(self) -> int:
        """Of the last logged row."""
        return self.last_row.get("step", 0)


def read(sweep: SweepDir, run: PlannedRun) -> Record:
    """Raises ValueError where a file of the run is broken, with its name."""
    run_dir = sweep.run(run.run_id)
    settings = run_dir.settings() or {}
    planned = PlannedRun(run.run_id, settings, run.axes)
    return Record(
        run_id=run.run_id,
        sweep=sweep.path.resolve().name,
        folder=run_dir.path,
        settings=_filled_in(settings),
        rows=run_dir.rows(),
        final_rows=read_jsonl(run_dir.final_keys_file),
        facts=run_row(run_dir, planned),
        summary=run_dir.summary() or {},
        attempts=(read_json(run_dir.provenance_file) or {}).get("attempts", []),
        log=_end(run_dir.log_file),
        command=alone(sweep, planned),
        files=list(_files(run_dir)),
        read_at=time.time(),
    )


def _filled_in(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of another version too: what it did not have yet takes its default, what is gone since stays."""
    known = flat(RunConfig())
    return {**settings, **flat(resolved(from_flat({n: v for n, v in settings.items() if n in known})))}


def _end(log: Path) -> list[str]:
    try:
        return log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    except FileNotFoundError:
        return []


def _files(run_dir: RunDir) -> list[tuple[str, int]]:
    found = []
    for each in sorted(run_dir.path.iterdir()):
        parts = [each] if each.is_file() else [part for part in each.rglob("*") if part.is_file()]
        found.append((each.name + ("" if each.is_file() else "/"), sum(part.stat().st_size for part in parts)))
    return found


# --- the network --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Opened:
    """The task and the network, as far as they can be had here.

    Attributes:
        task: None where the settings' operation is not to be had.
        evaluation: of the last stored weights; None where there are none, or none that are finite.
        step: of these weights.
        missing: why there is no evaluation, in a sentence; "" where there is one.
    """

    run: LoadedRun
    task: Task | None
    evaluation: Evaluation | None
    step: int | None
    missing: str = ""


def open_network(record: Record) -> Opened:
    """The network of the checkpoint, on every pair. Nothing is trained once more."""
    run = LoadedRun(record.folder)
    try:
        task = run.task
    except (ValueError, ImportError) as error:
        return Opened(run, None, None, None, f"The task cannot be made here: {_line(error)}")
    if not (record.folder / "checkpoint.safetensors").exists():
        return Opened(run, task, None, None, "There is no checkpoint yet, so no weights to look at.")
    try:
        step = run.last_step
        weights = run.weights(step)
    except (ValueError, OSError) as error:
        return Opened(run, task, None, None, f"The weights cannot be read: {_line(error)}")
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        return Opened(run, task, None, step, f"The weights of step {step} are not finite: nothing can be measured.")
    return Opened(run, task, run.evaluation(step), step)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
