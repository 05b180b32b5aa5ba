"""Mirrors of a run: Weights & Biases. A mirror may fail; the run may not.

A mirror is shown a row only once it stands behind a checkpoint, so that it never holds what a resumed run would log
again. It is always shown all rows, and takes those that W&B has not. W&B numbers rows 0, 1, 2, …: how many there are
is what its server knows best; what it says of the last one may be old (wandb's pull request 12668).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from grok_sweep.config import LoggerKind, LoggerMode, RunConfig, flat, from_flat, run_id
from grok_sweep.store import ENDED, RunDir, State, read_json, write_atomic
from grok_sweep.wandb_session import FAILED, quiet_wandb, said, wandb_id

Row = Mapping[str, Any]

TRY_AGAIN_S = 600.0
"""A process that waited for the server in vain does not wait again for so long: its next runs go offline at once."""


@runtime_checkable
class Mirror(Protocol):
    """Somewhere else that shows the run."""

    def rows(self, rows: Sequence[Row]) -> None:
        """All rows so far, in order."""
        ...

    def finish(self, summary: Mapping[str, Any], state: State) -> None: ...

    def give_up(self) -> None:
        """After a failure: let go of what it holds."""
        ...


class NoMirror:
    """logger=none."""

    def rows(self, rows: Sequence[Row]) -> None:
        pass

    def finish(self, summary: Mapping[str, Any], state: State) -> None:
        pass

    def give_up(self) -> None:
        pass


def open_mirror(config: RunConfig, run_dir: RunDir, name: str, tell: Callable[[str], None]) -> Mirror:
    """The mirror that the settings name; `tell` hears of its failure. `name` is the run's id."""
    if config.logger.kind is LoggerKind.none or config.logger.mode is LoggerMode.disabled:
        return NoMirror()
    modes = [config.logger.mode, LoggerMode.offline]
    return Guarded([lambda mode=mode: WandbMirror(config, run_dir, name, mode) for mode in modes], run_dir, tell)


def publish(path: str | Path) -> int:
    """Bring W&B's server up to a finished run's folder: the rows that it lacks, summary and settings.

    Returns how many rows it lacked. Raises ValueError where the run is not finished, and whatever wandb raises.
    """
    run_dir = RunDir(path)
    settings, summary, state = run_dir.settings(), run_dir.summary(), run_dir.state()
    if settings is None or summary is None or state not in ENDED:
        raise ValueError(f"{run_dir.path}: {state.value}; only a run that is done or diverged can be published")
    config = from_flat(settings)
    mirror = WandbMirror(config, run_dir, run_id(config), LoggerMode.online)
    n_before = mirror.n_rows
    mirror.rows(run_dir.rows())
    mirror.finish(summary, state)
    return mirror.n_rows - n_before


# --- failures -----------------------------------------------------------------------------------------------


class Guarded:
    """Mirrors of one run, each in the place of the one before, which failed; a failure is told in one line.

    Args:
        makes: what opens them; each is tried once.
    """

    def __init__(self, makes: Sequence[Callable[[], Mirror]], run_dir: RunDir, tell: Callable[[str], None]) -> None:
        self._makes, self._dir, self._tell = list(makes), run_dir, tell
        self._rows: Sequence[Row] = []
        self._mirror: Mirror = NoMirror()
        self._do(lambda mirror: None, opening=True)

    def rows(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self._do(lambda mirror: mirror.rows(rows))

    def finish(self, summary: Mapping[str, Any], state: State) -> None:
        self._do(lambda mirror: mirror.finish(summary, state))

    def give_up(self) -> None:
        self._mirror.give_up()
        _let_go_of_wandb()

    def _do(self, action: Callable[[Mirror], None], opening: bool = False) -> None:
        """Act on the mirror; where that fails, on the next one, once it was shown all rows."""
        failures: list[str] = []
        while True:
            try:
                if opening:
                    self._mirror = self._makes.pop(0)()
                    self._mirror.rows(self._rows)
                action(self._mirror)
                break
            except Exception as error:  # whatever the library raises, the run goes on
                failures.append(said(error))
            self.give_up()
            self._mirror, opening = NoMirror(), bool(self._makes)
        if failures:
            self._tell(f"{FAILED} ({'; then '.join(dict.fromkeys(failures))}): {self._what_next()}")

    def _what_next(self) -> str:
        if not isinstance(self._mirror, NoMirror):
            return f"every row is in an offline folder instead; to upload it: wandb sync {self._dir.wandb}"
        return (
            "the run goes on without it, metrics.jsonl holds every row; to upload what is missing, once it is done: "
            f"python -m grok_sweep publish {self._dir.path}; to do without W&B: logger=none"
        )


def _let_go_of_wandb() -> None:
    """End wandb's helper process, which may be dead or keep the failed run's id; the next mirror starts another."""
    wandb = sys.modules.get("wandb")
    if wandb is None or _open_runs or getattr(wandb, "run", None) is not None:
        return  # others in this process still use it
    with contextlib.suppress(Exception, SystemExit):
        wandb.teardown()


# --- W&B ----------------------------------------------------------------------------------------------------


class WandbMirror:
    """A W&B run with the id <sweep>-<run_id>.

    Attributes:
        n_rows: rows that W&B was given, by earlier attempts too.
    """

    def __init__(self, config: RunConfig, run_dir: RunDir, name: str, mode: LoggerMode) -> None:
        run_dir.wandb.mkdir(exist_ok=True)
        self._given, self._is_online = _Given(run_dir.wandb), mode is LoggerMode.online
        if self._is_online:
            self._run = _init_online(config, run_dir, name)
            self._given.keep_what_the_server_has(self._run)
        else:
            self._given.keep_what_is_synced()
            self._run = _init(config, run_dir, name, mode)
        self._id = self._run.id
        _open_runs[self._id] = self._run
        self._folder = Path(self._run.dir).parent
        self._given.save()
        self._given.remove_what_is_replaced(by=self._folder)
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    @property
    def n_rows(self) -> int:
        return len(self._given.steps)

    def rows(self, rows: Sequence[Row]) -> None:
        steps = self._given.steps
        last = steps[-1] if steps else -1
        new = [row for row in rows if row["step"] > last]
        if not new:
            return
        first = len(steps)
        steps.extend(row["step"] for row in new)
        if self._is_online:
            self._given.n_arrived = None
        self._given.save()
        for number, row in enumerate(new, first):
            self._run.log(dict(row), step=number, commit=True)

    def finish(self, summary: Mapping[str, Any], state: State) -> None:
        _open_runs.pop(self._id, None)
        self._run.summary.update({name: value for name, value in summary.items() if name != "settings"})
        if state is State.interrupted:
            self._run.mark_preempting()  # W&B's word for it
        self._run.finish(exit_code=0 if state is State.done else 1)
        self._given.finished(None if self._is_online else self._folder.name)

    def give_up(self) -> None:
        _finish_left_open(self._id)


class _Given:
    """Which rows W&B was given, kept in wandb/given.json beside its own folders.

    Attributes:
        steps: of the rows, in W&B's order: a row's place in this list is W&B's own `_step`. A row that a longer run
            does not have (the last one of the run before it was made longer) stays: the server has it too.
        n_arrived: so many of them are at the server; None: rows are on their way to it, or an online attempt broke
            off: only the server knows.
        folder: name of the offline folder that holds all others; None: there is none such.
    """

    def __init__(self, wandb_dir: Path) -> None:
        self._dir, self._file = wandb_dir, wandb_dir / "given.json"
        kept = read_json(self._file) or {"steps": [], "n_arrived": 0, "folder": None}
        self.steps: list[int] = kept["steps"]
        self.n_arrived: int | None = kept["n_arrived"]
        self.folder: str | None = kept["folder"]

    def save(self) -> None:
        kept = {"n_arrived": self.n_arrived, "folder": self.folder, "steps": self.steps}
        write_atomic(self._file, json.dumps(kept).encode())

    def keep_what_is_synced(self) -> None:
        """Before an offline attempt: forget all but what `wandb sync`, or an online attempt, took to the server."""
        files = list(self._dir.glob("offline-run-*/*.wandb"))
        if self.n_arrived is None or any(_is_half_synced(file) for file in files):
            raise RuntimeError("no offline folder, as only the server knows which rows it took")
        if self.folder is not None and not (self._dir / self.folder).exists():
            self.n_arrived = len(self.steps)  # synced, then removed by `wandb clean`
        self.n_arrived = max([self.n_arrived, *(_rows_in(file) for file in files if _is_synced(file))])
        del self.steps[self.n_arrived :]
        self.folder = None

    def keep_what_the_server_has(self, run: Any) -> None:
        """At the beginning of an online attempt: forget all but what the server says that it has."""
        n_rows = run.starting_step if run.resumed else 0
        if n_rows > len(self.steps):
            # given.json was lost, or the run is from elsewhere: the rows are known by the last one alone.
            self.steps = [int(run.summary.get("step", -1))] * n_rows
        del self.steps[n_rows:]
        self.n_arrived, self.folder = n_rows, None

    def remove_what_is_replaced(self, by: Path) -> None:
        """Remove offline folders of earlier attempts: their rows, not synced yet, are given again by this one."""
        for folder in self._dir.glob("offline-run-*"):
            if folder.name != by.name and not any(_is_synced(file) for file in folder.glob("*.wandb")):
                shutil.rmtree(folder, ignore_errors=True)

    def finished(self, folder: str | None) -> None:
        """The attempt ended well: its rows are all in this offline folder, or (None) all at the server."""
        self.folder = folder
        if folder is None:
            self.n_arrived = len(self.steps)
        self.save()


def _is_synced(file: Path) -> bool:
    return file.with_suffix(".wandb.synced").exists()


def is_to_be_synced(run_dir: RunDir) -> bool:
    """Whether the run has an offline folder that `wandb sync` did not take yet."""
    return any(not _is_synced(file) for file in run_dir.wandb.glob("offline-run-*/*.wandb"))


def _is_half_synced(file: Path) -> bool:
    """`wandb sync` began with it and did not end: the network failed, or the log broke off."""
    return file.with_suffix(".wandb.syncstate").exists() and not _is_synced(file)


def _rows_in(file: Path) -> int:
    """Rows that W&B was given up to the end of a log: the number of its last one, and one."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    records = map(json.loads, done.stdout.splitlines())
    return max((r["history"]["item"]["_step"] + 1 for r in records if r["type"] == "history"), default=0)


_open_runs: dict[str, Any] = {}
"""W&B runs of this process that were not finished, by id: a run that failed leaves its own open."""


def _finish_left_open(wandb_id: str) -> None:
    run = _open_runs.pop(wandb_id, None)
    with contextlib.suppress(Exception):
        if run is not None:
            run.finish(exit_code=1)


_in_vain: tuple[float, str] | None = None
"""When (time.monotonic) this process last waited for the server in vain, and what was said."""


def _init_online(config: RunConfig, run_dir: RunDir, name: str) -> Any:
    global _in_vain
    import wandb  # noqa: F401  the seconds that the first import takes are no wait for the server

    began = time.monotonic()
    if _in_vain is not None and began - _in_vain[0] < TRY_AGAIN_S:
        raise ConnectionError(f"not tried, as {began - _in_vain[0]:.0f} s ago: {_in_vain[1]}")
    try:
        return _init(config, run_dir, name, LoggerMode.online)
    except Exception as error:
        if time.monotonic() - began > 1.0:  # else trying costs nothing: a missing or a wrong key
            _in_vain = time.monotonic(), said(error)
        raise


def _init(config: RunConfig, run_dir: RunDir, name: str, mode: LoggerMode) -> Any:
    run = wandb_id(config.sweep, name)
    _finish_left_open(run)
    wandb, settings = quiet_wandb(config.logger.timeout_s)
    return wandb.init(
        project=config.logger.project,
        entity=config.logger.entity,
        id=run,
        name=name,
        group=config.sweep,
        job_type="train",
        tags=config.logger.tags or None,
        config=flat(config),
        dir=str(run_dir.path),
        mode=mode.name,
        resume="allow",
        reinit="create_new",
        settings=settings,
    )
