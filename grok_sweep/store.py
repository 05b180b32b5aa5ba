"""Folders and files of sweeps and runs: every file name, and how each is written so that nothing is lost.

`metrics.jsonl` is the truth: append-only, one os.write a row. Everything else is replaced atomically.
Weights go through safetensors, which is imported (with torch) only where weights are read or written.
"""

from __future__ import annotations

import errno
import glob
import json
import math
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class State(Enum):
    """planned: nothing done yet; interrupted: goes on when asked again; the others are final until asked."""

    planned = "planned"
    running = "running"
    interrupted = "interrupted"
    done = "done"
    diverged = "diverged"
    failed = "failed"


ENDED = (State.done, State.diverged)
"""A run that is over, with a summary; it is not trained again but for more steps."""


@dataclass(frozen=True)
class PlannedRun:
    """A line of plan.jsonl.

    Attributes:
        settings: every setting, flat.
        axes: the swept settings of this run under their flat names, in the order of the command line.
    """

    run_id: str
    settings: dict[str, Any]
    axes: dict[str, Any]


class SweepDir:
    """runs/<sweep>/: the plan, the claims and one folder a run."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.plan_file = self.path / "plan.jsonl"
        self.launches_file = self.path / "sweep.json"
        self.provenance = self.path / "provenance"
        self.cancel_file = self.path / "cancel.json"
        self.claims = self.path / "claims"
        self.workers = self.path / "workers"
        self.ensembles = self.path / "ensembles"
        self.submitit = self.path / "submitit"
        self.jobs_file = self.submitit / "jobs.jsonl"
        self.runs_parquet = self.path / "runs.parquet"
        self.metrics_parquet = self.path / "metrics.parquet"
        self.code = self.path / "code"

    def run(self, run_id: str) -> RunDir:
        return RunDir(self.path / run_id)

    def add(self, runs: Iterable[PlannedRun]) -> None:
        """Append runs to the plan; one that stands there with the same settings and axes is left out."""
        known = {run.run_id: run for run in self.plan()}
        new = []
        for run in runs:
            if known.get(run.run_id) != run:
                known[run.run_id] = run
                new.append(run)
        if not new:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        lines = [
            json.dumps({"run_id": run.run_id, "settings": run.settings, "axes": run.axes}, allow_nan=False)
            for run in new
        ]
        fd = os.open(self.plan_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            torn = not _ends_with_newline(self.plan_file)
            with naming(self.plan_file):
                _write_all(fd, (("\n" if torn else "") + "".join(line + "\n" for line in lines)).encode())
        finally:
            os.close(fd)

    def add_launch(self, facts: Mapping[str, Any]) -> None:
        """Append to the history of commands in sweep.json; a file that cannot be read is begun anew beside it."""
        try:
            launches = self.launches()
        except ValueError:
            os.replace(self.launches_file, self.launches_file.with_suffix(".json.broken"))
            launches = []
        write_json(self.launches_file, {"launches": [*launches, facts]})

    def launches(self) -> list[dict[str, Any]]:
        """The commands that asked for runs here, oldest first."""
        return (read_json(self.launches_file) or {}).get("launches", [])

    def planned(self) -> PlanByRun:
        """The plan's runs by their ids, read one by one as they are asked for."""
        return PlanByRun(self.plan_file)

    def plan(self) -> list[PlannedRun]:
        """The runs in the order they were first asked for; of several lines for one run the last one counts.

        A line that was cut by a full disk is passed over: asking for its run again adds it again.
        """
        lines = map(_planned_run, read_jsonl(self.plan_file, strict=False))
        return list({run.run_id: run for run in lines if run is not None}.values())

    def statuses(self, run_ids: Iterable[str]) -> Iterator[dict[str, Any] | ValueError]:
        """What RunDir.status() says of each, or the error that it raises; 10,000 in a fraction of a second."""
        folder = os.fspath(self.path)
        for run_id in run_ids:
            try:
                yield _status(f"{folder}/{run_id}/{_STATUS}")
            except ValueError as error:
                yield error


def _planned_run(line: Mapping[str, Any]) -> PlannedRun | None:
    """What a line of plan.jsonl says; None where it is no such line."""
    if not line.keys() >= {"run_id", "settings", "axes"}:
        return None
    return PlannedRun(line["run_id"], line["settings"], line["axes"])


class PlanByRun:
    """plan.jsonl as it is now, by run: where each line lies, not what it says.

    A worker looks at each run of ten thousand and trains some: their settings all at once would be 100 MB.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._at: dict[str, list[int]] = {}
        with file.open("rb") as lines:
            at = 0
            for line in lines:
                # A last line without an end is still being written, or was cut.
                if line.endswith(b"\n") and (found := re.match(rb'\{"run_id": "([^"]+)"', line)):
                    self._at.setdefault(found[1].decode(), []).append(at)
                at += len(line)

    def __getitem__(self, run_id: str) -> PlannedRun:
        with self._file.open("rb") as lines:
            for at in reversed(self._at[run_id]):
                lines.seek(at)
                # A full disk may have cut the line; then the one before it counts.
                with suppress(ValueError):
                    run = _planned_run(_object(lines.readline(), str(self._file)))
                    if run is not None:
                        return run
        raise KeyError(run_id)


def _unfenced() -> None:
    pass


class RunDir:
    """runs/<sweep>/<run_id>/.

    Args:
        fence: asked between the making of a file and its taking the name; raises where the run is no longer ours.
            Whoever takes a run over removes what is half-written before it reads (`remove_half_written`): so a worker
            that was suspended at whatever point replaces no file that the next one has read or written.
    """

    def __init__(self, path: str | os.PathLike[str], fence: Callable[[], None] = _unfenced) -> None:
        self.path = Path(path)
        self._fence = fence
        self.settings_file = self.path / "settings.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.final_keys_file = self.path / "final_keys.jsonl"
        self.measured_file = self.path / "measured.jsonl"
        self.summary_file = self.path / "summary.json"
        self.status_file = self.path / _STATUS
        self.cancel_file = self.path / "cancel.json"
        self.log_file = self.path / "log.txt"
        self.provenance_file = self.path / "provenance.json"
        self.checkpoint_file = self.path / "checkpoint.safetensors"
        self.snapshots = self.path / "snapshots"
        self.wandb = self.path / "wandb"

    def write(self, file: Path, value: Mapping[str, Any], durable: bool = True) -> None:
        """One of the small JSON files, replaced; what a crash of the machine may cost needs not be durable."""
        write_json(file, value, self._fence, durable)

    def remove_half_written(self) -> None:
        """What earlier attempts were writing when they were killed, or suspended: then they never get to the end."""
        for folder in (self.path, self.snapshots):
            for leftover in folder.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)

    # --- small files --------------------------------------------------------------------------------------

    def settings(self) -> dict[str, Any] | None:
        try:
            return read_json(self.settings_file)
        except ValueError as error:
            raise ValueError(f"{error}; if this is the run's own folder, delete the file") from error

    def status(self) -> dict[str, Any]:
        """{"state": …, …}; state "planned" where there is none yet. ValueError where the file holds no state."""
        return _status(os.fspath(self.status_file))

    def state(self) -> State:
        return State(self.status()["state"])

    def summary(self) -> dict[str, Any] | None:
        return read_json(self.summary_file)

    def write_status(self, state: State, **facts: Any) -> None:
        status = {"state": state.value, **facts, "updated": time.time()}
        try:
            # What says that nothing is done yet may be lost with the machine: then the run is planned, as it was.
            self.write(self.status_file, status, durable=facts.get("step", 0) > 0 or state is not State.running)
        except OSError as error:
            if error.errno not in NO_SPACE or not self.status_file.exists():
                raise
            # A new file needs room; the block that the old one has is there, even on a full disk.
            _write_over(self.status_file, (json.dumps(status, allow_nan=False) + "\n").encode())

    def log(self, text: str) -> None:
        """Append lines to log.txt, each with the time (UTC)."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with naming(self.log_file), self.log_file.open("a") as file:
            file.writelines(f"{stamp} {line}\n" for line in text.rstrip("\n").split("\n"))

    # --- metrics ------------------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """Every whole row of metrics.jsonl, in order of steps."""
        way_out = "put this line right, or move the folder away to train the run anew"
        try:
            rows = read_jsonl(self.metrics_file)
        except ValueError as error:
            raise ValueError(f"{error}; {way_out}") from error
        for number, row in enumerate(rows, 1):
            if "step" not in row:
                raise ValueError(f"{self.metrics_file}, line {number}: a row without a step; {way_out}")
        return rows

    def open_metrics(self, keep: Iterable[Mapping[str, Any]]) -> MetricsFile:
        """Start metrics.jsonl anew with the rows `keep`, ready for more.

        The file is replaced, not cut: a worker that lost this run while it was suspended still holds
        the old file, and what it writes there goes nowhere. Nor is it opened by its name, which may be another's.
        """
        content = "".join(_row_line(row) for row in keep).encode()
        return MetricsFile(self.metrics_file, _replaced(self.metrics_file, content, self._fence))

    # --- weights ------------------------------------------------------------------------------------------

    def save_checkpoint(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Replace the checkpoint; `facts` is what resume needs beside the tensors (step, environment)."""
        _save_tensors(self.checkpoint_file, tensors, {"facts": json.dumps(facts)}, self._fence)

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """(tensors on the CPU, facts), or None where there is no checkpoint yet."""
        if not self.checkpoint_file.exists():
            return None
        tensors, metadata = load_tensors(self.checkpoint_file)
        if "facts" not in metadata:
            raise ValueError(f"{self.checkpoint_file} holds tensors, but is no checkpoint of a run")
        return tensors, json.loads(metadata["facts"])

    def save_snapshot(self, step: int, weights: Mapping[str, Tensor]) -> None:
        self.snapshots.mkdir(exist_ok=True)
        _save_tensors(self.snapshots / f"step_{step:08d}.safetensors", weights, {"step": str(step)}, self._fence)

    def snapshot_steps(self) -> list[int]:
        """Steps whose weights are kept, in order."""
        return sorted(int(file.stem.removeprefix("step_")) for file in self.snapshots.glob("step_*.safetensors"))

    def load_snapshot(self, step: int) -> dict[str, Tensor]:
        """What was kept of this step (on the CPU); the optimizer's state under names with a slash."""
        return load_tensors(self.snapshots / f"step_{step:08d}.safetensors")[0]

    # --- what is measured afterwards ----------------------------------------------------------------------

    def merge_rows(self, file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add these rows' values to those of the same step in final_keys.jsonl or measured.jsonl."""
        merged = {row["step"]: dict(row) for row in read_jsonl(file)}
        for row in rows:
            merged[row["step"]] = {**merged.get(row["step"], {}), **row}
        write_atomic(file, "".join(_row_line(merged[step]) for step in sorted(merged)).encode())


_STATUS = "status.json"
_STATES = frozenset(state.value for state in State)


def _status(file: str) -> dict[str, Any]:
    try:
        with open(file, "rb", buffering=0) as opened:
            content = opened.read()
    except FileNotFoundError:
        content = b""
    if not content:  # a machine that went down may leave the name without the content
        return {"state": State.planned.value}
    status = _object(content, file)
    if status.get("state") not in _STATES:
        known = ", ".join(state.value for state in State)
        raise ValueError(f"{file}: unknown state {status.get('state')!r}. Known: {known}")
    return status


def run_folders(path: Path) -> list[Path]:
    """The run whose folder this is, or the runs of a sweep's folder; [] where it is neither."""
    if RunDir(path).settings_file.exists():
        return [path]
    return sorted(folder for folder in path.glob("*") if RunDir(folder).settings_file.exists())


def by_first_digits(path: Path) -> Path:
    """The folder of the one run beside this path whose id begins so, four digits or more; else the path itself."""
    if path.exists() or len(path.name) < 4:
        return path
    found = [
        folder for folder in path.parent.glob(f"{glob.escape(path.name)}*") if RunDir(folder).settings_file.exists()
    ]
    return found[0] if len(found) == 1 else path


class MetricsFile:
    """metrics.jsonl opened for appending (`fd`); each row is one os.write, so a reader never meets half of two."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path, self._fd = path, fd

    def append(self, row: Mapping[str, Any]) -> None:
        with naming(self._path):
            _write_all(self._fd, _row_line(row).encode())

    def sync(self) -> None:
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


def _row_line(row: Mapping[str, Any]) -> str:
    return json.dumps({name: finite(value) for name, value in row.items()}, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """The value with every number that is not finite replaced by None, which JSON shows as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [finite(item) for item in value]
    return value


# --- files --------------------------------------------------------------------------------------------------

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
"""A full disk, a used-up quota."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """What a failed write does not say by itself: to which file."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """One line more of a JSONL file that one process writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path), path.open("ab", buffering=0) as file:
        file.write((json.dumps(value, allow_nan=False) + "\n").encode())


def write_atomic(path: Path, content: bytes, fence: Callable[[], None] = _unfenced, durable: bool = True) -> None:
    """Write beside `path`, flush to the disk, then rename: a reader sees the old file or the new one.

    Args:
        fence: called just before the renaming; where it raises, the old file stays.
        durable: False: not flushed. Where the machine goes down within the next half minute, the file may be empty.
    """
    os.close(_replaced(path, content, fence, durable))


def _replaced(path: Path, content: bytes, fence: Callable[[], None], durable: bool = True) -> int:
    """Replace the file; the new one, open for appending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            return _replaced_once(path, content, fence, durable)
        except FileNotFoundError:
            # Removed as half-written before it got its name: by whoever took the run over, and then the fence raises;
            # or by one who lost it just before that, to us.
            fence()
            if not path.parent.exists():
                raise


def _replaced_once(path: Path, content: bytes, fence: Callable[[], None], durable: bool) -> int:
    # Not the pid: workers on two machines may have the same, and would write into one file.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with naming(path):
            _write_all(fd, content)
            if durable:
                os.fsync(fd)
        fence()
        os.replace(temporary, path)
    except BaseException:
        os.close(fd)
        temporary.unlink(missing_ok=True)
        raise
    return fd


def write_json(
    path: Path, value: Mapping[str, Any], fence: Callable[[], None] = _unfenced, durable: bool = True
) -> None:
    write_atomic(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode(), fence, durable)


def read_json(path: Path) -> dict[str, Any] | None:
    """The file's content, or None where there is no such file, or an empty one, as a crash of the machine may leave.

    ValueError, with its name, where it is no JSON.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if not content.strip(b"\0"):
        return None
    return _object(content, str(path))


def read_jsonl(path: Path, strict: bool = True) -> list[dict[str, Any]]:
    """Every whole line; a torn last line (a writer died, or is writing) is left out. [] without a file.

    Raises ValueError, with the line's number, for any other line that is no JSON; with strict=False
    such lines are passed over.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(_object(line, f"{path}, line {number}"))
        except ValueError:
            if strict:
                raise
    return rows


def _object(content: bytes, where: str) -> dict[str, Any]:
    """The JSON object that these bytes are; ValueError with the place where they are none."""
    try:
        found = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{where}: no JSON: {content[:80]!r}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{where}: no JSON object: {content[:80]!r}")
    return found


def last_row(path: Path, block: int = 65536) -> dict[str, Any] | None:
    """The last whole row of a JSONL file, read from its end; None where there is none. ValueError if it is broken."""
    rows = last_rows(path, 1, block)
    return rows[-1] if rows else None


def last_rows(path: Path, n: int, block: int = 65536) -> list[dict[str, Any]]:
    """The last n whole rows of a JSONL file, or all where there are fewer, read from its end. ValueError for a broken
    one among them."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - block))
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    if len(lines) <= n and size > block:  # the first line of the block may be cut
        return last_rows(path, n, block * 8)
    return [_object(line, f"{path}, last lines") for line in lines[-n:]]


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors (on the CPU) and metadata of a safetensors file. ValueError, with its name, where it is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            # The names as stored: keys() is the library's method, the object itself is no mapping.
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error})") from error


def _save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str], fence: Callable[[], None]
) -> None:
    from safetensors.torch import save

    write_atomic(path, save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, metadata), fence)


def _write_all(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]


def _write_over(path: Path, content: bytes) -> None:
    """Replace a small file's content in place, by one write: blanks cover what is left of a longer one."""
    with path.open("r+b", buffering=0) as file:
        file.write(content.rstrip().ljust(path.stat().st_size - 1) + b"\n")


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
