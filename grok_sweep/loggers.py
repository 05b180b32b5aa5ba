"""Mirrors of a run: Weights & Biases. A mirror may fail; the run may not.

A mirror gets a row only once it stands behind a checkpoint, so that it never holds what a resumed run would
log again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from grok_sweep.config import LoggerKind, LoggerMode, RunConfig, flat
from grok_sweep.store import RunDir

Row = Mapping[str, Any]


@runtime_checkable
class Mirror(Protocol):
    """Somewhere else that shows the run."""

    def rows(self, rows: Sequence[Row]) -> None: ...

    def finish(self, summary: Mapping[str, Any], ok: bool) -> None: ...


class NoMirror:
    """logger=none."""

    def rows(self, rows: Sequence[Row]) -> None:
        pass

    def finish(self, summary: Mapping[str, Any], ok: bool) -> None:
        pass


class WandbMirror:
    """A W&B run with the id <sweep>-<run_id>.

    Offline, what an earlier attempt left is replaced: the caller replays metrics.jsonl from its first row.
    Online, rows that the server has already are left out.
    """

    def __init__(self, config: RunConfig, run_dir: RunDir, run_id: str) -> None:
        import wandb

        if config.logger.mode is LoggerMode.offline:
            shutil.rmtree(run_dir.wandb, ignore_errors=True)
        run_dir.wandb.mkdir(exist_ok=True)
        self._run = wandb.init(
            project=config.logger.project,
            entity=config.logger.entity,
            id=f"{config.sweep}-{run_id}",
            name=run_id,
            group=config.sweep,
            job_type="train",
            tags=config.logger.tags,
            config=flat(config),
            dir=str(run_dir.path),
            mode=config.logger.mode.name,
            resume="allow",
            reinit="create_new",
            settings=_quiet_settings(wandb),
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        self._logged_to = self._run.summary.get("step", -1) if config.logger.mode is LoggerMode.online else -1

    def rows(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row["step"] > self._logged_to:
                self._run.log(dict(row))
                self._logged_to = row["step"]

    def finish(self, summary: Mapping[str, Any], ok: bool) -> None:
        self._run.summary.update({name: value for name, value in summary.items() if name != "settings"})
        self._run.finish(exit_code=0 if ok else 1)


def _quiet_settings(wandb: Any) -> Any:
    """No console capture, no system metrics; `x_` names are W&B's unstable ones, so only those it knows."""
    wanted = {
        "console": "off",
        "silent": True,
        "init_timeout": 30,
        "x_disable_stats": True,
        "x_disable_meta": True,
        "x_save_requirements": False,
        "disable_code": True,
        "disable_git": True,
    }
    return wandb.Settings(**{k: v for k, v in wanted.items() if k in wandb.Settings.model_fields})


class Guarded:
    """A mirror whose first failure is told once and ends it."""

    def __init__(self, make: Callable[[], Mirror], tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._mirror: Mirror = NoMirror()
        self._try(lambda: setattr(self, "_mirror", make()))

    def rows(self, rows: Sequence[Row]) -> None:
        self._try(lambda: self._mirror.rows(rows))

    def finish(self, summary: Mapping[str, Any], ok: bool) -> None:
        self._try(lambda: self._mirror.finish(summary, ok))

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            # Whatever the library raises, the run goes on.
            self._mirror = NoMirror()
            self._tell(
                f"W&B stopped ({type(error).__name__}: {error}); the run goes on, metrics.jsonl holds every row"
            )


def open_mirror(config: RunConfig, run_dir: RunDir, run_id: str, tell: Callable[[str], None]) -> Mirror:
    """The mirror that the settings name; `tell` hears of its failure."""
    if config.logger.kind is LoggerKind.none or config.logger.mode is LoggerMode.disabled:
        return NoMirror()
    return Guarded(lambda: WandbMirror(config, run_dir, run_id), tell)
