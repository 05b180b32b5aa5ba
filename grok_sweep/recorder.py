"""What a run leaves behind while it trains: rows, checkpoints, status, its mirror; and how it goes on from them.

The order of writes is the promise: a row, then the checkpoint that covers it, then the mirror. Whatever moment a
run is killed at, cutting the rows back to the checkpoint and training on repeats it exactly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from grok_sweep.config import RunConfig, flat, run_id_of
from grok_sweep.loggers import Mirror, NoMirror
from grok_sweep.measures.schedule import Schedule, stop_step
from grok_sweep.measures.table import VECTORS
from grok_sweep.models.parameters import unflatten
from grok_sweep.store import RunDir, State, finite
from grok_sweep.train import Setup, TrainState, pack, unpack


class Recorder:
    """The folder of one run, opened by the one process that holds it; left, it lets go of its files and its mirror.

    Attributes:
        rows: all rows so far, those of earlier attempts included, as the file holds them.
    """

    def __init__(
        self,
        config: RunConfig,
        run_dir: RunDir,
        fixed: Setup,
        rows_at: Schedule,
        conditions: dict[str, Any],
        check: Callable[[], None],
        surroundings: Callable[[], Sequence[Mapping[str, Any]]] = lambda: ({},),
    ) -> None:
        """Clear away what a killed attempt left half-written, and keep what its checkpoint covers."""
        check()
        self._config, self._dir, self._fixed, self._check = config, run_dir, fixed, check
        run_dir.path.mkdir(parents=True, exist_ok=True)
        run_dir.remove_half_written()  # before anything is read: see RunDir
        loaded = _load(run_dir, rows_at)
        self._tensors, facts, rows = loaded or ({}, {"step": 0, "seconds": 0.0, "conditions": []}, [])
        self._resumed_from: int | None = facts["step"] if loaded else None
        self._seconds_before: float = facts["seconds"]
        self._here, self._surroundings = conditions, surroundings
        self._conditions: list[dict[str, Any]] = facts["conditions"]
        self.rows = _kept(rows, facts["step"], rows_at, config)
        self._mirror: Mirror = NoMirror()
        self._started = self._saved = time.monotonic()
        run_dir.write(run_dir.settings_file, flat(config), durable=False)  # the plan holds them too
        self._metrics = run_dir.open_metrics(self.rows)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        """After a failure, which may be anything, the mirror's run is ended; whoever wants out at once is let out."""
        self._metrics.close()
        if kind is not None and issubclass(kind, Exception):
            self._mirror.give_up()

    @property
    def is_bitwise(self) -> bool:
        """True where every attempt ran under the same conditions."""
        return len(self._conditions) <= 1

    @property
    def last_step(self) -> int:
        """Step of the last row; -1 before the first."""
        return self.rows[-1]["step"] if self.rows else -1

    def begin(self, mirror: Mirror) -> None:
        """Say in the log how this attempt starts, show the kept rows to the mirror, and be running."""
        self._mirror = mirror
        if self._resumed_from is None:
            self._dir.log(f"started: run {run_id_of(flat(self._config))}, {self._config.n_steps} steps")
        else:
            self._dir.log(f"resumed at step {self._resumed_from} with {len(self.rows)} rows")
        self._meet()
        self._mirror.rows(self.rows)
        self._status(State.running, self._resumed_from or 0)

    def _meet(self) -> None:
        """Note under which conditions the run is and was; say so where they changed. The present ones stand last."""
        before = self._conditions
        for surroundings in self._surroundings():
            now = self._here | dict(surroundings)
            if self._conditions[-1:] != [now]:
                self._conditions = [c for c in self._conditions if c != now] + [now]
        if self._conditions != before and not self.is_bitwise:
            met = "; ".join(", ".join(f"{n} {v}" for n, v in c.items()) for c in self._conditions)
            self._dir.log(f"conditions changed, numbers may differ in rounding from here. Met so far: {met}")

    def resumed_state(self) -> TrainState | None:
        """The state that the checkpoint holds; None where there is none."""
        if self._resumed_from is None:
            return None
        try:
            return unpack(self._tensors, self._resumed_from, self._fixed)
        except ValueError as error:
            way_out = "delete it, and the run starts anew with retry=failed"
            raise ValueError(f"{self._dir.checkpoint_file}: {error}; {way_out}") from error

    def append(self, values: Mapping[str, Any]) -> None:
        """Write one row; `seconds` is the time trained, all attempts together."""
        self._check()
        row = {name: finite(value) for name, value in values.items()} | {"seconds": round(self._seconds(), 3)}
        self._metrics.append(row)
        self.rows.append(row)

    def snapshot(self, state: TrainState) -> None:
        """Keep the weights of this step, and what the optimizer continues where the settings ask for it."""
        self._check()
        has_optimizer = self._config.snapshots.optimizer_state
        tensors = pack(state, self._fixed.shapes) if has_optimizer else unflatten(state.weights, self._fixed.shapes)
        self._dir.save_snapshot(state.step, tensors)

    def checkpoint_if_due(self, state: TrainState) -> None:
        if time.monotonic() - self._saved >= self._config.checkpoint.every_s:
            self.checkpoint(state)
            self._status(State.running, state.step)

    def checkpoint(self, state: TrainState) -> None:
        """Make this state the one that a killed run goes on from, then show its rows to the mirror."""
        self._check()
        self._meet()
        self._metrics.sync()
        facts = {"step": state.step, "seconds": self._seconds(), "conditions": self._conditions}
        facts |= {"n_rows": len(self.rows), "last_row": self.last_step}
        self._dir.save_checkpoint(pack(state, self._fixed.shapes), facts)
        self._saved = time.monotonic()
        self._mirror.rows(self.rows)

    def finish(self, state: State, step: int, end: str | None, summary: Mapping[str, Any]) -> None:
        """Summary, mirror, status and log of an attempt that ended by itself."""
        self._check()
        if state is not State.interrupted:
            self._dir.write(self._dir.summary_file, summary)
        self._mirror.rows(self.rows)
        self._mirror.finish(summary, state)
        self._status(state, step, end)
        self._dir.log(f"{state.value} at step {step}" + (f" ({end})" if end else ""))

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    def _status(self, state: State, step: int, end: str | None = None) -> None:
        self._dir.write_status(state, step=step, n_steps=self._config.n_steps, end=end, error=None)


def _load(
    run_dir: RunDir, rows_at: Schedule
) -> tuple[dict[str, Tensor], dict[str, Any], list[dict[str, Any]]] | None:
    """The checkpoint (tensors, facts) and all rows; None where some that it covers are lost: the run starts anew."""
    try:
        loaded = run_dir.load_checkpoint()
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(f"{error}: delete it, and the run starts anew with retry=failed") from error
    if loaded is None:
        return None
    (tensors, facts), rows = loaded, run_dir.rows()
    n_covered = facts.get("n_rows", 1)  # one at least, where an older version wrote the checkpoint
    n_there = sum(row["step"] <= facts["step"] for row in rows)
    # The last row of a run that is made longer may have gone already: see _kept.
    may_have_gone = "last_row" in facts and facts["last_row"] not in rows_at
    if n_there < n_covered - may_have_gone:
        run_dir.log(f"metrics.jsonl holds {n_there} of the {n_covered} rows of the checkpoint: starting anew")
        return None
    return tensors, facts, rows


def _kept(rows: list[dict[str, Any]], step: int, rows_at: Schedule, config: RunConfig) -> list[dict[str, Any]]:
    """The rows that a checkpoint at `step` covers, as a run of the present length has them.

    A shorter run ended with a full row of its own: where more steps are asked for, that row goes, or loses the
    lists that it would not have had.
    """
    kept = [row for row in rows if row["step"] <= step]
    stopped = stop_step(kept, config.stop)
    ends_here = kept and kept[-1]["step"] == (config.n_steps if stopped is None else min(stopped, config.n_steps))
    if not kept or ends_here:
        return kept
    last = kept[-1]
    if last["step"] not in rows_at:
        return kept[:-1]
    if last["step"] not in rows_at.with_vectors:
        kept[-1] = {n: v for n, v in last.items() if n not in VECTORS}
    return kept
