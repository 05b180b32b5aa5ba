"""What an analysis made of a sweep, as one W&B run: figures, tables and pages. A mirror: the files stay the truth.

The run's id is <sweep>-report: publishing again updates it. Offline where the sweep's runs were, to be synced.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from analysis.load import Sweep
from grok_sweep.config import LoggerConfig, LoggerKind, LoggerMode
from grok_sweep.wandb_session import FAILED, REPORT_JOB, environment, quiet_wandb, said, wandb_id

REPORT = "report"
PAGE_MB = 25
"""Larger pages are in the artifact alone: W&B takes no more in one call."""
MOST_ROWS = 10_000
"""Of a table at W&B; the rest stands in the artifact's files."""
UPLOAD_S = 120.0


@dataclass(frozen=True)
class Target:
    """Where the report goes: what the sweep's runs say of their own mirror."""

    mode: str
    project: str
    entity: str | None
    tags: list[str]
    timeout_s: float


def publish_sweep(
    sweep: Sweep,
    files: Sequence[Path],
    tables: Mapping[str, pl.DataFrame] | None = None,
    *,
    mode: str | None = None,
    folder: Path | None = None,
) -> str:
    """Show these files and tables in the W&B run <sweep>-report; never raises.

    Returns a line that says where they are, or what failed and what to do.

    Args:
        files: figures (.png) and pages (.html) are shown by the names of their files; all are kept in an artifact.
        tables: shown by their names: cells, alarms, stages, …
        mode: online or offline; None: as the sweep's runs (logger.mode), offline where they had no mirror.
        folder: the offline log goes to its wandb/; None: the sweep's own.
    """
    target, here = target_of(sweep, mode), folder or sweep.path
    failures: list[str] = []
    for each in dict.fromkeys((target.mode, LoggerMode.offline.name)):
        try:
            where = _publish(sweep, target, each, here, files, tables or {})
        except Exception as error:  # whatever the library raises, the analysis stands
            failures.append(said(error))
            continue
        return where if not failures else f"{FAILED} ({'; then '.join(failures)}): {where}"
    again = "the analysis' files stand; to try again: the same command"
    return f"{FAILED} ({'; then '.join(dict.fromkeys(failures))}): {again}"


def target_of(sweep: Sweep, mode: str | None = None) -> Target:
    """Project, entity, tags and mode of the sweep's newest run that had a mirror, else the defaults."""
    usual = LoggerConfig()

    def said_of(name: str, otherwise: Any) -> Any:
        runs = sweep.runs
        if f"logger.{name}" not in runs.columns or "logger.kind" not in runs.columns:
            return otherwise
        known = runs.filter(pl.col("logger.kind") == LoggerKind.wandb.name)[f"logger.{name}"].drop_nulls()
        return known[-1] if known.len() else otherwise

    own = said_of("mode", usual.mode.name)
    if own == LoggerMode.disabled.name:
        own = LoggerMode.offline.name
    tags = str(said_of("tags", ""))
    project, entity = said_of("project", usual.project), said_of("entity", usual.entity)
    return Target(
        mode or own, project, entity, tags.split(",") if tags else [], said_of("timeout_s", usual.timeout_s)
    )


def group_of(sweep: Sweep) -> str:
    """W&B's group of the sweep's runs: the sweep that their settings name, whatever its folder is called now."""
    named = sweep.runs["sweep"].drop_nulls().unique().to_list() if "sweep" in sweep.runs.columns else []
    return named[0] if len(named) == 1 else sweep.name


def _publish(
    sweep: Sweep, target: Target, mode: str, folder: Path, files: Sequence[Path], tables: Mapping[str, pl.DataFrame]
) -> str:
    wandb_dir, name = folder / "wandb", wandb_id(group_of(sweep), REPORT)
    wandb_dir.mkdir(parents=True, exist_ok=True)
    before = set(wandb_dir.glob(f"offline-run-*-{name}"))
    with _staged_in(wandb_dir / f"staged-{_key(name)}", keep=mode == LoggerMode.offline.name):
        wandb, settings = quiet_wandb(target.timeout_s, UPLOAD_S)
        run = _open(wandb, settings, sweep, target, mode, folder)
        try:
            run.log(_shown(wandb, files, tables))
            run.summary.update(_counts(sweep))
            artifact = wandb.Artifact(_key(name), type=REPORT)
            for file in files:
                artifact.add_file(str(file), name=file.name, skip_cache=True)
            logged = run.log_artifact(artifact)
            if mode == LoggerMode.online.name:
                logged.wait(timeout=int(UPLOAD_S))
            run.finish(exit_code=0)
        except BaseException:
            _let_go(wandb, run)
            raise
    return _where(run, mode, before)


def _open(wandb: Any, settings: Any, sweep: Sweep, target: Target, mode: str, folder: Path) -> Any:
    try:
        return wandb.init(
            project=target.project,
            entity=target.entity,
            id=wandb_id(group_of(sweep), REPORT),
            name=f"{group_of(sweep)} {REPORT}",
            group=group_of(sweep),
            job_type=REPORT_JOB,
            tags=target.tags or None,
            config={"swept": list(sweep.swept)},
            dir=str(folder),
            mode=mode,
            resume="allow",
            reinit="create_new",
            settings=settings,
        )
    except BaseException:
        _let_go(wandb, None)
        raise


def _let_go(wandb: Any, run: Any) -> None:
    """End the run and wandb's helper process, which may be dead or keep the failed run's id."""
    with suppress(Exception):
        if run is not None:
            run.finish(exit_code=1)
    with suppress(Exception, SystemExit):
        wandb.teardown()


def _where(run: Any, mode: str, before: set[Path]) -> str:
    """Where the report is. Earlier offline logs of it that were not synced are replaced by this one."""
    if mode == LoggerMode.online.name:
        return f"W&B: {run.url}"
    log = Path(run.dir).parent
    for folder in before - {log}:
        if not any(file.with_suffix(".wandb.synced").exists() for file in folder.glob("*.wandb")):
            shutil.rmtree(folder, ignore_errors=True)
    return f"W&B, offline; to upload it: wandb sync {log}"


@contextmanager
def _staged_in(folder: Path, keep: bool) -> Iterator[None]:
    """wandb copies an artifact's files before it uploads them: beside its log, not into the user's home."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with environment("WANDB_DATA_DIR", str(folder)):
            yield
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


# --- what is shown ------------------------------------------------------------------------------------------


def _shown(wandb: Any, files: Sequence[Path], tables: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for file in files:
        if file.suffix == ".png":
            shown[_key(file.stem)] = wandb.Image(str(file), caption=file.name)
        elif file.suffix == ".html" and file.stat().st_size <= PAGE_MB * 10**6:
            shown[f"{_key(file.stem)}_page"] = wandb.Html(str(file), inject=False)
    for name, frame in tables.items():
        rows = [[_in_a_cell(value) for value in row] for row in frame.head(MOST_ROWS).iter_rows()]
        shown[name] = wandb.Table(columns=frame.columns, data=rows, allow_mixed_types=True)
    return shown


def _key(name: str) -> str:
    """What W&B allows as the name of an artifact, and takes for one name, not a path, as that of a picture."""
    return re.sub("[^A-Za-z0-9_-]", "_", name)


def _in_a_cell(value: Any) -> Any:
    """A value that W&B's tables take: no list, and no number that JSON has not."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _counts(sweep: Sweep) -> dict[str, int]:
    """How many runs there are, and how many of each outcome."""
    found = sweep.runs["outcome"].value_counts()
    return {"n_runs": sweep.runs.height} | {f"n_{name}": n for name, n in sorted(found.iter_rows())}
